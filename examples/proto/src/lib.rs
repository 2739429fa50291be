//! `hello.v1.Greeter`, as tonic generates it.

tonic::include_proto!("hello.v1");
