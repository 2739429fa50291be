//! The greeter: what servers answer calls with.

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use sd_example_proto::{
    GreetOftenRequest, GreetReply, GreetRequest,
    greeter_server::{Greeter, GreeterServer},
};
use tonic::{Request, Response, Result, Streaming};

/// Greets, and says who it is.
#[derive(Clone)]
struct Named(String);

/// The greeter called `name`, as a service of a tonic server.
pub(crate) fn greeter(name: String) -> GreeterServer<impl Greeter + Clone> {
    GreeterServer::new(Named(name))
}

impl Named {
    fn greet(&self, name: &str) -> GreetReply {
        GreetReply {
            greeting: format!("Hello, {name}!"),
            from: self.0.clone(),
        }
    }
}

#[tonic::async_trait]
impl Greeter for Named {
    type GreetOftenStream = BoxStream<'static, Result<GreetReply>>;
    type GreetEachStream = BoxStream<'static, Result<GreetReply>>;

    async fn greet(&self, request: Request<GreetRequest>) -> Result<Response<GreetReply>> {
        Ok(Response::new(self.greet(&request.get_ref().name)))
    }

    async fn greet_often(
        &self,
        request: Request<GreetOftenRequest>,
    ) -> Result<Response<Self::GreetOftenStream>> {
        let GreetOftenRequest { name, times } = request.into_inner();
        let greeter = self.clone();
        let greetings = (0..times).map(move |_| Ok(greeter.greet(&name)));
        Ok(Response::new(stream::iter(greetings).boxed()))
    }

    async fn greet_all(
        &self,
        request: Request<Streaming<GreetRequest>>,
    ) -> Result<Response<GreetReply>> {
        let mut requests = request.into_inner();
        let mut names = Vec::new();
        while let Some(request) = requests.message().await? {
            names.push(request.name);
        }
        Ok(Response::new(self.greet(&names.join(" and "))))
    }

    async fn greet_each(
        &self,
        request: Request<Streaming<GreetRequest>>,
    ) -> Result<Response<Self::GreetEachStream>> {
        let greeter = self.clone();
        let greetings = request
            .into_inner()
            .map(move |request| Ok(greeter.greet(&request?.name)));
        Ok(Response::new(greetings.boxed()))
    }
}
