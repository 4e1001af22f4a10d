#!/usr/bin/env bash
# Tests of ./x's set-up: what is missing is named, what was interrupted starts over, what is there stays.
# Every tool outside coreutils is an imitation, so nothing is fetched or built.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

# A folder with ./x and a PATH that holds all it needs; $1 names what to leave out.
fresh() {
  rm -rf "$work/repo" "$work/bin" "$work/cache" && mkdir -p "$work/repo" "$work/bin"
  cp "$root/x" "$work/repo/x"
  local tool
  for tool in bash env dirname basename awk df uname mkdir rm mv ln cat grep tail head find sleep touch flock cksum readlink; do
    ln -s "$(command -v "$tool")" "$work/bin/$tool"
  done
  for tool in cargo cc c++ g++ gcc; do imitate "$tool" 'exit 0'; done
  imitate python3 "$pip_works"
  for tool in "$@"; do rm -f "$work/bin/$tool"; done
}
imitate() { # NAME BODY
  rm -f "$work/bin/$1"
  printf '#!/usr/bin/env bash\n%s\n' "$2" >"$work/bin/$1"
  chmod +x "$work/bin/$1"
}
# Knows `-m pip --version` and `-m pip install ... --target DIR ...`; has no torch of its own.
pip_works='
case "$*" in
*--version*) echo pip 99 ;;
*--target*)
  echo called >>"${0%/*}/pip-calls"
  while [ "$1" != --target ]; do shift; done
  mkdir -p "$2/torch/lib" "$2/torch/include" "$2/nvidia/cu13/lib"
  touch "$2/torch/lib/libc10.so" "$2/torch/lib/libgomp.so.1" "$2/nvidia/cu13/lib/libcupti.so.13" "$2/nvidia/cu13/lib/libcudart.so.13"
  [ -z "${SLOW:-}" ] || { touch "${0%/*}/halfway"; sleep 30; }
  touch "$2/torch/lib/libtorch_cpu.so" ;;
*) exit 1 ;;
esac'

export XDG_CACHE_HOME=$work/cache
run() { output=$(cd / && env -u RELIGN_TORCH PATH="$work/bin" "$@" "$work/repo/x" setup 2>&1); status=$?; }
check() { # NAME CONDITION...
  local name=$1
  shift
  if "$@"; then
    echo "ok    $name"
  else
    echo "FAIL  $name (exit $status)"$'\n'"$output"
    failures=$((failures + 1))
  fi
}
says() { [ $status -eq 1 ] && [[ $output == *"error: "*"$1"*"help: "*"$2"* ]]; }
calls() { [ "$(grep -c called "$work/bin/pip-calls" 2>/dev/null)" = "$1" ]; }
nothing_half_done() { [ -z "$(find "$work/repo/.x" "$work/cache" -name '*.part*' 2>/dev/null)" ]; }
no_torch() { [ -z "$(find "$work/cache" -name libtorch_cpu.so -path '*/torch-2*/torch/*' ! -path '*.part/*' 2>/dev/null)" ]; }
whole() {
  local lib=$work/repo/.x/libtorch/lib
  [ $status -eq 0 ] && [ -e "$lib/libtorch.so" ] && [ -e "$lib/libc10.so" ] && [ -e "$lib/libgomp.so" ] &&
    [ -e "$lib/libcudart.so.13" ] && [ -e "$lib/libcupti.so.13" ] && [ -d "$work/repo/.x/libtorch/include" ] &&
    grep -q "LIBTORCH = \"$work/repo/.x/libtorch\"" "$work/repo/.cargo/config.toml" &&
    nothing_half_done
}

fresh cargo; run env; check "no Rust" says "cargo was not found" "rustup.rs"
fresh c++ g++; run env; check "no C++ compiler" says "no C++ compiler" "apt install g++"
fresh cc gcc; run env; check "no C compiler" says "no C compiler" "apt install gcc"
fresh python3; run env; check "no Python" says "python3 was not found" "python3-pip"
fresh; imitate python3 'exit 1'; run env; check "no pip" says "no pip" "apt install python3-pip"
fresh; imitate uname 'echo Darwin arm64'; run env; check "another machine" says "Darwin arm64" "Linux on x86-64"
fresh; imitate df 'printf "h\nd 9 9 2000000 9%% /\n"'; run env
check "too little disk" says "2 GB are free" "free some space"
fresh
imitate python3 'case "$*" in *--version*) ;; *--target*) echo "NewConnectionError: Failed to resolve pypi.org" >&2; exit 1;; *) exit 1;; esac'
run env; check "no network" says "cannot be reached" "check the network"
check "no network leaves no libtorch" no_torch
check "no network leaves nothing half done" nothing_half_done
imitate python3 "$pip_works"; run env; check "and the next run goes through" whole

fresh
imitate python3 'case "$*" in *--version*) ;; *--target*) echo "OSError: [Errno 28] No space left on device" >&2; exit 1;; *) exit 1;; esac'
run env; check "the disk fills up" says "the disk is full" "free some space"

fresh; run env; check "a first run sets everything up" whole
config=$work/repo/.cargo/config.toml
touch -d '2001-01-01' "$config" 2>/dev/null
before=$(find "$config" -newermt '2002-01-01')
run env; check "a second run is whole too" whole
check "a second run fetches nothing" calls 1
check "a second run leaves cargo's configuration alone" [ "$before" = "$(find "$config" -newermt '2002-01-01')" ]
mv "$work/repo" "$work/moved" && mkdir "$work/repo" && mv "$work/moved/x" "$work/moved/.x" "$work/repo/" && rm -rf "$work/moved"
run env; check "without cargo's configuration it is written again" whole
check "and nothing is fetched" calls 1

rm -rf "$work/repo/.x" "$work/repo/.cargo"
run env; check "another clone is set up, too" whole
check "with what the first one fetched" calls 1

fresh
(cd / && SLOW=1 PATH="$work/bin" exec "$work/repo/x" setup >/dev/null 2>&1) &
victim=$!
for _ in $(seq 100); do [ -e "$work/bin/halfway" ] && break; sleep 0.1; done
kill -9 $victim; wait $victim 2>/dev/null
check "killed halfway it has no libtorch" no_torch
run env; check "killed halfway it starts over" whole

fresh; mkdir -p "$work/own/lib" "$work/own/include" "$work/nvidia/lib"
touch "$work/own/lib/libtorch_cpu.so" "$work/own/lib/libc10.so" "$work/own/lib/libgomp.so.1" "$work/nvidia/lib/libcudart.so.13" "$work/nvidia/lib/libcupti.so.13"
output=$(cd / && RELIGN_TORCH=$work/own PATH="$work/bin" "$work/repo/x" setup 2>&1); status=$?
check "RELIGN_TORCH is used" whole
check "and nothing is fetched for it" calls ""
output=$(cd / && RELIGN_TORCH=$work/nowhere PATH="$work/bin" "$work/repo/x" setup 2>&1); status=$?
check "a wrong RELIGN_TORCH is named" says "$work/nowhere" "PyTorch 2.11"
fresh
imitate python3 "[ \"\$1\" = - ] && echo $work/own && exit; exit 1"
run env; check "a PyTorch 2.11 in Python is used" whole

[ $failures -eq 0 ] && echo "all of ./x's tests passed" || { echo "$failures of ./x's tests failed"; exit 1; }
