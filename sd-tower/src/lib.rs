//! Calls through discovered endpoints: gRPC with tonic, HTTP with hyper or reqwest, tower's
//! `Discover`, and servers that register themselves.
