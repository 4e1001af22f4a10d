# Raises its own limits.
# ends: cpu_time
import resource
for kind in [resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE]:
    try:
        resource.setrlimit(kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        if kind != resource.RLIMIT_DATA:
            print("ESCAPED", kind)
    except (OSError, ValueError):
        pass
while True:
    pass
