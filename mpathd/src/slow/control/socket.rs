//! The transport under zlink, with bounds of our own: its buffers grow to 100 MB and it waits for
//! ever for a client that doesn't read (review of the architecture, 5).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::net::UnixStream;
use zlink::connection::PassedCredentials;
use zlink::connection::socket::{self, ReadResult, UnixSocket};

/// Longest message of a client, bytes.
pub(super) const MAX_MESSAGE: usize = 64 * 1024;
/// A client that takes nothing for so long is left.
pub(super) const STALL: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Socket(pub(super) Rc<UnixStream>);

#[derive(Debug)]
pub(super) struct Reader {
    stream: Rc<UnixStream>,
    /// Bytes since the last message's end.
    pending: usize,
}

#[derive(Debug)]
pub(super) struct Writer(Rc<UnixStream>);

impl socket::Socket for Socket {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> (Reader, Writer) {
        (Reader { stream: Rc::clone(&self.0), pending: 0 }, Writer(self.0))
    }
}

impl Reader {
    fn count(&mut self, bytes: &[u8]) -> zlink::Result<()> {
        for part in bytes.split_inclusive(|byte| *byte == 0) {
            self.pending += part.len();
            if self.pending > MAX_MESSAGE {
                return Err(zlink::Error::BufferOverflow);
            }
            if part.ends_with(&[0]) {
                self.pending = 0;
            }
        }
        Ok(())
    }
}

impl socket::ReadHalf for Reader {
    async fn read(&mut self, buffer: &mut [u8]) -> zlink::Result<ReadResult> {
        loop {
            self.stream.readable().await?;
            match self.stream.try_read(buffer) {
                Ok(length) => {
                    self.count(&buffer[..length])?;
                    return Ok(ReadResult::new(length));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Reader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Its peer's credentials can be asked for.
impl UnixSocket for Reader {}

impl socket::WriteHalf for Writer {
    /// Descriptors and credentials are for others: nothing of ours passes any.
    async fn write(
        &mut self,
        mut bytes: &[u8],
        _: &[impl AsFd],
        _: Option<&PassedCredentials>,
    ) -> zlink::Result<()> {
        while !bytes.is_empty() {
            let writable = tokio::time::timeout(STALL, self.0.writable()).await;
            writable.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            match self.0.try_write(bytes) {
                Ok(length) => bytes = &bytes[length..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// The client has closed its end, which nobody reads while replies are streamed to it.
pub(super) fn hung_up(stream: &UnixStream) -> bool {
    let mut fds = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_limit_is_of_a_message_not_of_a_connection() {
        let (stream, _peer) = UnixStream::pair().unwrap();
        let mut reader = Reader { stream: Rc::new(stream), pending: 0 };
        let mut message = vec![b' '; MAX_MESSAGE - 1];
        message.push(0);
        for _ in 0..3 {
            reader.count(&message).unwrap();
        }
        reader.count(&[b' '; MAX_MESSAGE]).unwrap();
        assert!(reader.count(b" ").is_err());
    }
}
