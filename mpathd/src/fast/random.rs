//! Random numbers for cookies and identifiers: drawn in stocks, so that a path costs no system call
//! of its own.

use std::io;

const STOCK: usize = 128;

pub(super) struct Random {
    stock: [u64; STOCK],
    left: usize,
}

impl Random {
    /// Blocks until the kernel has random numbers to give, so not from the fast thread.
    ///
    /// # Errors
    /// ENOSYS where a sandbox forbids getrandom.
    pub(super) fn new() -> io::Result<Self> {
        let mut random = Self { stock: [0; STOCK], left: 0 };
        random.refill()?;
        Ok(random)
    }

    /// Any value but 0, which means "none" in a slot.
    pub(super) fn draw(&mut self) -> u64 {
        loop {
            if self.left == 0 {
                // It has worked before, so nothing can refuse it now; an old stock would only make
                // cookies repeat, still 64 bits that nobody on the wire can know in advance.
                self.refill().unwrap_or_else(|_| self.left = STOCK);
            }
            self.left -= 1;
            let word = self.stock[self.left];
            if word != 0 {
                return word;
            }
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        let bytes = size_of_val(&self.stock);
        // SAFETY: the stock is valid for that many bytes, and any bits are a u64.
        let got = unsafe { libc::getrandom(self.stock.as_mut_ptr().cast(), bytes, 0) };
        // Up to 256 bytes come in one piece; more only unless a signal comes between (getrandom(2)).
        match usize::try_from(got) {
            Ok(got) if got >= 256 => {
                self.left = got / size_of::<u64>();
                Ok(())
            }
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_alike_over_several_stocks() {
        let mut random = Random::new().unwrap();
        let mut drawn: Vec<u64> = (0..STOCK * 3).map(|_| random.draw()).collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), STOCK * 3);
        assert!(!drawn.contains(&0));
    }
}
