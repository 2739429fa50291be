//! A greeter over gRPC, for a gateway that runs alone.

use axum::Router;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use sd_example_proto::{
    GreetOftenRequest, GreetReply, GreetRequest,
    greeter_server::{Greeter, GreeterServer},
};
use tonic::{Request, Response, Status, Streaming};

/// A greeter, as a server that axum serves.
pub(crate) fn router(name: &'static str) -> Router {
    Router::new().fallback_service(GreeterServer::new(Greets(name)))
}

struct Greets(&'static str);

impl Greets {
    fn greeting(&self, name: &str) -> GreetReply {
        greeting(self.0, name)
    }
}

fn greeting(from: &str, name: &str) -> GreetReply {
    GreetReply {
        greeting: format!("hello {name}"),
        from: from.into(),
    }
}

type Greetings = BoxStream<'static, Result<GreetReply, Status>>;

#[tonic::async_trait]
impl Greeter for Greets {
    type GreetOftenStream = Greetings;
    type GreetEachStream = Greetings;

    async fn greet(&self, request: Request<GreetRequest>) -> Result<Response<GreetReply>, Status> {
        Ok(Response::new(self.greeting(&request.get_ref().name)))
    }

    async fn greet_often(
        &self,
        request: Request<GreetOftenRequest>,
    ) -> Result<Response<Greetings>, Status> {
        let GreetOftenRequest { name, times } = request.into_inner();
        let greeting = self.greeting(&name);
        let greetings = (0..times).map(move |_| Ok(greeting.clone()));
        Ok(Response::new(stream::iter(greetings).boxed()))
    }

    async fn greet_all(
        &self,
        request: Request<Streaming<GreetRequest>>,
    ) -> Result<Response<GreetReply>, Status> {
        let names = request.into_inner().map_ok(|request| request.name);
        let names: Vec<_> = names.try_collect().await?;
        Ok(Response::new(self.greeting(&names.join(", "))))
    }

    async fn greet_each(
        &self,
        request: Request<Streaming<GreetRequest>>,
    ) -> Result<Response<Greetings>, Status> {
        let from = self.0;
        let greetings = request.into_inner();
        let greetings = greetings.map_ok(move |request| greeting(from, &request.name));
        Ok(Response::new(greetings.boxed()))
    }
}
