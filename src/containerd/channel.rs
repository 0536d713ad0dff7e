//! One lazily connecting HTTP/2 channel to containerd's unix socket, and the one way to ask over it.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;

use super::ContainerdError;
use crate::limits::Limits;

/// Header lines of one answer: containerd's `grpc-message` carries whole outputs of runc and CNI.
const MAX_HEADER_LIST: u32 = 1024 * 1024;

/// The guard's own connection to containerd. Cheap to clone; connects at the first question and
/// again after containerd restarts.
#[derive(Clone, Debug)]
pub struct Containerd {
    channel: Channel,
    namespace: MetadataValue<Ascii>,
    max_message: usize,
}

impl Containerd {
    /// A connection to the socket at `socket`, for the objects of containerd's `namespace`
    /// (`k8s.io` for a kubelet). Nothing is dialled yet: containerd may start later. Must be called
    /// inside a tokio runtime, on which the connection then lives.
    ///
    /// # Errors
    /// [`ContainerdError::Bad`] if the namespace cannot be sent as a header.
    pub fn new(socket: &Path, namespace: &str, limits: &Limits) -> Result<Self, ContainerdError> {
        let bad = |why: &str| ContainerdError::Bad {
            name: namespace.to_owned(),
            why: why.to_owned(),
        };
        let namespace =
            MetadataValue::try_from(namespace).map_err(|_| bad("not a namespace's name"))?;
        let channel = Endpoint::from_static("http://localhost")
            .http2_max_header_list_size(MAX_HEADER_LIST)
            .connect_with_connector_lazy(UnixConnector(Arc::new(socket.to_owned())));
        Ok(Self {
            channel,
            namespace,
            max_message: limits.max_message_bytes,
        })
    }

    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(super) fn max_message(&self) -> usize {
        self.max_message
    }

    /// A request of containerd's own services: they look at the namespace header.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert("containerd-namespace", self.namespace.clone());
        request
    }

    /// One unary CRI call.
    pub(super) async fn cri<Q, A>(
        &self,
        ask: Ask<'_>,
        path: &'static str,
        message: Q,
    ) -> Result<A, ContainerdError>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let mut grpc = Grpc::new(self.channel())
            .max_decoding_message_size(self.max_message)
            .max_encoding_message_size(self.max_message);
        ask.answer(async move {
            grpc.ready()
                .await
                .map_err(|e| Status::unavailable(e.to_string()))?;
            grpc.unary(
                Request::new(message),
                PathAndQuery::from_static(path),
                ProstCodec::<Q, A>::default(),
            )
            .await
        })
        .await
    }
}

/// A question: its name for error texts, the object it is about, and the moment it must be over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    asked: &'static str,
    name: &'a str,
    within: Duration,
    until: Instant,
}

impl<'a> Ask<'a> {
    pub(super) fn new(asked: &'static str, name: &'a str, within: Duration) -> Self {
        Self {
            asked,
            name,
            within,
            until: Instant::now() + within,
        }
    }

    /// The same deadline for another step.
    pub(super) fn step<'b>(&self, asked: &'static str, name: &'b str) -> Ask<'b> {
        Ask {
            asked,
            name,
            within: self.within,
            until: self.until,
        }
    }

    pub(super) fn until(&self) -> Instant {
        self.until
    }

    pub(super) fn timeout(&self) -> ContainerdError {
        ContainerdError::Timeout {
            asked: self.asked,
            after: self.within,
        }
    }

    pub(super) fn error(&self, status: &Status) -> ContainerdError {
        ContainerdError::from_status(self.asked, self.name, self.within, status)
    }

    /// Waits for the answer, at most until the deadline.
    pub(super) async fn answer<A>(
        &self,
        call: impl Future<Output = Result<Response<A>, Status>>,
    ) -> Result<A, ContainerdError> {
        match tokio::time::timeout_at(self.until, call).await {
            Err(_) => Err(self.timeout()),
            Ok(Err(status)) => Err(self.error(&status)),
            Ok(Ok(response)) => Ok(response.into_inner()),
        }
    }
}

/// Dials the one socket whatever address is asked for.
#[derive(Clone, Debug)]
struct UnixConnector(Arc<PathBuf>);

impl Service<Uri> for UnixConnector {
    type Response = TokioIo<UnixStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let socket = Arc::clone(&self.0);
        Box::pin(async move { Ok(TokioIo::new(UnixStream::connect(socket.as_path()).await?)) })
    }
}
