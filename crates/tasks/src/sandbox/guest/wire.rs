//! Values between a solution and its tests, which are two processes.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fs::File;
use std::hash::Hash;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;

pub trait Wire: Sized {
    fn put(&self, to: &mut Vec<u8>);
    /// Nothing where the other side sent no such value.
    fn get(from: &mut &[u8]) -> Option<Self>;
}

macro_rules! plain {
    ($($kind:ty),*) => {$(
        impl Wire for $kind {
            fn put(&self, to: &mut Vec<u8>) {
                to.extend(self.to_le_bytes());
            }
            fn get(from: &mut &[u8]) -> Option<Self> {
                let (bytes, rest) = from.split_first_chunk()?;
                *from = rest;
                Some(Self::from_le_bytes(*bytes))
            }
        }
    )*};
}
plain!(i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize, f32, f64);

impl Wire for bool {
    fn put(&self, to: &mut Vec<u8>) {
        to.push(u8::from(*self));
    }
    fn get(from: &mut &[u8]) -> Option<Self> {
        match u8::get(from)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Wire for char {
    fn put(&self, to: &mut Vec<u8>) {
        u32::from(*self).put(to);
    }
    fn get(from: &mut &[u8]) -> Option<Self> {
        char::from_u32(u32::get(from)?)
    }
}

impl Wire for String {
    fn put(&self, to: &mut Vec<u8>) {
        (self.len() as u64).put(to);
        to.extend(self.as_bytes());
    }
    fn get(from: &mut &[u8]) -> Option<Self> {
        let length = usize::try_from(u64::get(from)?).ok()?;
        let bytes = from.get(..length)?;
        *from = &from[length..];
        String::from_utf8(bytes.to_vec()).ok()
    }
}

macro_rules! list {
    ($($kind:ident: $($bound:ident)+;)*) => {$(
        impl<T: Wire $(+ $bound)+> Wire for $kind<T> {
            fn put(&self, to: &mut Vec<u8>) {
                (self.len() as u64).put(to);
                self.iter().for_each(|item| item.put(to));
            }
            fn get(from: &mut &[u8]) -> Option<Self> {
                let count = u64::get(from)?;
                (0..count).map(|_| T::get(from)).collect()
            }
        }
    )*};
}
list! {
    Vec: Sized;
    VecDeque: Sized;
    HashSet: Eq Hash;
    BTreeSet: Ord;
}

macro_rules! map {
    ($($kind:ident: $($bound:ident)+;)*) => {$(
        impl<K: Wire $(+ $bound)+, V: Wire> Wire for $kind<K, V> {
            fn put(&self, to: &mut Vec<u8>) {
                (self.len() as u64).put(to);
                self.iter().for_each(|(key, value)| {
                    key.put(to);
                    value.put(to);
                });
            }
            fn get(from: &mut &[u8]) -> Option<Self> {
                let count = u64::get(from)?;
                (0..count).map(|_| Some((K::get(from)?, V::get(from)?))).collect()
            }
        }
    )*};
}
map! {
    HashMap: Eq Hash;
    BTreeMap: Ord;
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, to: &mut Vec<u8>) {
        self.is_some().put(to);
        self.iter().for_each(|item| item.put(to));
    }
    fn get(from: &mut &[u8]) -> Option<Self> {
        if bool::get(from)? { Some(Some(T::get(from)?)) } else { Some(None) }
    }
}

impl<T: Wire, E: Wire> Wire for Result<T, E> {
    fn put(&self, to: &mut Vec<u8>) {
        self.is_ok().put(to);
        match self {
            Ok(item) => item.put(to),
            Err(item) => item.put(to),
        }
    }
    fn get(from: &mut &[u8]) -> Option<Self> {
        if bool::get(from)? { T::get(from).map(Ok) } else { E::get(from).map(Err) }
    }
}

impl<T: Wire> Wire for Box<T> {
    fn put(&self, to: &mut Vec<u8>) {
        (**self).put(to);
    }
    fn get(from: &mut &[u8]) -> Option<Self> {
        T::get(from).map(Box::new)
    }
}

macro_rules! tuple {
    ($($name:ident)*) => {
        impl<$($name: Wire),*> Wire for ($($name,)*) {
            #[allow(non_snake_case, unused_variables)]
            fn put(&self, to: &mut Vec<u8>) {
                let ($($name,)*) = self;
                $($name.put(to);)*
            }
            #[allow(unused_variables)]
            fn get(from: &mut &[u8]) -> Option<Self> {
                Some(($($name::get(from)?,)*))
            }
        }
    };
}
tuple!();
tuple!(A);
tuple!(A B);
tuple!(A B C);
tuple!(A B C D);
tuple!(A B C D E);
tuple!(A B C D E F);
tuple!(A B C D E F G);
tuple!(A B C D E F G H);

fn line() -> File {
    // The socket that this process was started with; it stays open.
    unsafe { File::from_raw_fd(3) }
}

fn send(value: &impl Wire) -> Option<()> {
    let mut bytes = Vec::new();
    value.put(&mut bytes);
    let mut line = std::mem::ManuallyDrop::new(line());
    line.write_all(&(bytes.len() as u64).to_le_bytes()).ok()?;
    line.write_all(&bytes).ok()
}

fn receive<T: Wire>() -> Option<T> {
    let mut line = std::mem::ManuallyDrop::new(line());
    let mut length = [0; 8];
    line.read_exact(&mut length).ok()?;
    let mut bytes = Vec::new();
    let length = u64::from_le_bytes(length);
    if (&mut *line).take(length).read_to_end(&mut bytes).ok()? as u64 != length {
        return None;
    }
    let mut rest = bytes.as_slice();
    T::get(&mut rest).filter(|_| rest.is_empty())
}

/// In the tests: what the solution answers.
pub fn call<A: Wire, R: Wire>(args: A) -> R {
    send(&args).and_then(|()| receive()).expect("no answer from the solution")
}

/// In the solution: answers until the tests are through.
pub fn serve<A: Wire, R: Wire>(answer: impl Fn(A) -> R) {
    while let Some(args) = receive() {
        if send(&answer(args)).is_none() {
            return;
        }
    }
}
