//! A socket with 64 KiB of read-ahead and 64 KiB of write-behind.
//!
//! The HTTP/2 library writes each larger DATA frame on its own and reads 8 KiB at a time. Between
//! two processes on one machine those system calls are most of the cost of a stream of small
//! messages, so they are gathered here.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const SIZE: usize = 64 * 1024;

/// What every HTTP/2 client says first (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// `inner` with gathered reads and writes.
///
/// A flush after a write only promises: it wakes its own task and returns, so that frames which
/// come one by one in the same turn leave in one write. The promise falls due in the first read
/// that finds nothing, and is kept by the next flush or, failing that, by the next such read; a
/// flush with nothing new keeps it at once, as do a full buffer and a shutdown. Each step wakes
/// the task for the next, so nothing waits for the peer to speak. The owner must poll a read or a
/// flush whenever it is woken, as an HTTP/2 connection does.
#[derive(Debug)]
pub struct CoalescingIo<S> {
    inner: S,
    /// Read-ahead; `here` of it is not yet taken.
    read: Vec<u8>,
    here: std::ops::Range<usize>,
    write: BytesMut,
    promise: Promise,
    asked: Option<Asked>,
}

/// Notices the first HEADERS frame of a client (RFC 9113, section 4.1): it asked for something,
/// whatever the HTTP/2 library makes of it.
#[derive(Debug)]
struct Asked {
    /// Bytes to the next frame.
    skip: usize,
    /// What is here of that frame's head.
    head: Vec<u8>,
    seen: Arc<AtomicBool>,
}

impl Asked {
    /// True once there is nothing more to notice.
    fn feed(&mut self, mut bytes: &[u8]) -> bool {
        const HEADERS: u8 = 1;
        loop {
            let skip = self.skip.min(bytes.len());
            self.skip = self.skip.saturating_sub(skip);
            let Some((byte, rest)) = bytes.get(skip..).and_then(<[u8]>::split_first) else {
                return false;
            };
            bytes = rest;
            self.head.push(*byte);
            let [a, b, c, kind, _flags, _, _, _, _stream] = *self.head.as_slice() else {
                continue;
            };
            if kind == HEADERS {
                self.seen.store(true, Relaxed);
                return true;
            }
            self.skip = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
            self.head.clear();
        }
    }
}

/// What a flush left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Promise {
    /// Nothing was written since the last promise was kept.
    None,
    /// Bytes were written; no flush since.
    Written,
    /// A flush promised them; nothing was written since.
    Given,
    /// A read found nothing since: the next flush or read keeps it.
    Due,
}

impl<S> CoalescingIo<S> {
    /// Wraps a connected socket.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            read: Vec::new(),
            here: 0..0,
            write: BytesMut::new(),
            promise: Promise::None,
            asked: None,
        }
    }

    /// True as soon as the client behind this socket has sent a HEADERS frame. To be called before
    /// anything is read.
    pub(super) fn asked(&mut self) -> Arc<AtomicBool> {
        let seen = Arc::new(AtomicBool::new(false));
        self.asked = Some(Asked {
            skip: PREFACE.len(),
            head: Vec::new(),
            seen: seen.clone(),
        });
        seen
    }

    fn unread(&self) -> &[u8] {
        self.read.get(self.here.clone()).unwrap_or_default()
    }
}

impl<S: AsyncRead + Unpin> CoalescingIo<S> {
    /// Reads until the client's preface is here, which stays to be read again.
    ///
    /// # Errors
    ///
    /// `InvalidData` at the first byte that differs, `UnexpectedEof` if the peer leaves, else the
    /// socket's own error.
    pub async fn expect_preface(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            loop {
                let seen = self.unread().len().min(PREFACE.len());
                if self.unread().get(..seen) != PREFACE.get(..seen) {
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                }
                if seen == PREFACE.len() {
                    return Poll::Ready(Ok(()));
                }
                if ready!(self.poll_fill(cx))? == 0 {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
            }
        })
        .await
    }

    /// One read of the socket, behind what is still unread; 0 at its end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.read.is_empty() {
            self.read.resize(SIZE, 0);
        }
        if self.here.is_empty() {
            self.here = 0..0;
        }
        let mut free = ReadBuf::new(self.read.get_mut(self.here.end..).unwrap_or_default());
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut free))?;
        let came = free.filled().len();
        if let Some(asked) = &mut self.asked
            && asked.feed(free.filled())
        {
            self.asked = None;
        }
        self.here.end = self.here.end.saturating_add(came);
        Poll::Ready(Ok(came))
    }
}

impl<S: AsyncWrite + Unpin> CoalescingIo<S> {
    /// Writes out everything that is held.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.write.has_remaining() {
            let sent = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.write))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.write.advance(sent);
        }
        self.promise = Promise::None;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for CoalescingIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.here.is_empty() && this.poll_fill(cx)?.is_pending() {
            if matches!(this.promise, Promise::Given | Promise::Written) {
                // The task reads before it writes: what it writes in this turn shall go along.
                this.promise = Promise::Due;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            // If the socket is full, its wake brings the task back here. If the peer is gone, what
            // it said last may have come between the read and the write.
            match this.poll_drain(cx) {
                Poll::Ready(Err(gone)) if this.poll_fill(cx)?.is_pending() => {
                    return Poll::Ready(Err(gone));
                }
                Poll::Ready(Err(_)) => {}
                Poll::Ready(Ok(())) | Poll::Pending => return Poll::Pending,
            }
        }
        let take = this.unread().len().min(buf.remaining());
        buf.put_slice(this.unread().get(..take).unwrap_or_default());
        this.here.start = this.here.start.saturating_add(take);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CoalescingIo<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.write.len() >= SIZE {
            ready!(this.poll_drain(cx))?;
        }
        if this.write.capacity() == 0 {
            this.write.reserve(SIZE);
        }
        let mut taken = 0_usize;
        for buf in bufs {
            let space = SIZE.saturating_sub(this.write.len());
            let part = buf.get(..buf.len().min(space)).unwrap_or_default();
            this.write.extend_from_slice(part);
            taken = taken.saturating_add(part.len());
        }
        if this.promise != Promise::Due {
            this.promise = Promise::Written;
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.promise {
            Promise::None => Poll::Ready(Ok(())),
            Promise::Given | Promise::Due => this.poll_drain(cx),
            Promise::Written => {
                this.promise = Promise::Given;
                cx.waker().wake_by_ref();
                Poll::Ready(Ok(()))
            }
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
