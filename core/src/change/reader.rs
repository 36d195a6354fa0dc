//! Reads numbers and slices off the front of bytes that nobody has vouched for.

use super::ChangeFault;

/// What is left to read of one change. Nothing here allocates.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `length` bytes. The length may be anything that somebody wrote.
    pub(super) fn take(&mut self, length: u64) -> Result<&'a [u8], ChangeFault> {
        let (taken, rest) = usize::try_from(length)
            .ok()
            .and_then(|length| self.rest.split_at_checked(length))
            .ok_or(ChangeFault::Malformed("it ends early"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], ChangeFault> {
        let taken = self.take(N as u64)?;
        Ok(taken.try_into().expect("exactly N bytes were taken"))
    }

    /// An unsigned LEB128 number in its shortest form. Automerge writes only that form, and
    /// writing a change anew must give the same bytes or its hash is lost.
    pub(super) fn unsigned(&mut self) -> Result<u64, ChangeFault> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let [byte] = self.array()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                if shift > 0 && byte == 0 {
                    return Err(ChangeFault::Malformed(
                        "a number is longer than it has to be",
                    ));
                }
                return Ok(value);
            }
        }
        Err(ChangeFault::Malformed("a number does not fit 64 bits"))
    }

    /// A signed LEB128 number in its shortest form.
    pub(super) fn signed(&mut self) -> Result<i64, ChangeFault> {
        let mut value = 0;
        let mut sign_so_far = 0;
        for shift in (0..i64::BITS).step_by(7) {
            let [byte] = self.array()?;
            if shift == 63 && byte != 0 && byte != 0x7f {
                break;
            }
            value |= i64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                // A last byte that only repeats the sign of the one before says nothing.
                let idle = (byte == 0 && sign_so_far == 0) || (byte == 0x7f && sign_so_far != 0);
                if shift > 0 && idle {
                    return Err(ChangeFault::Malformed(
                        "a number is longer than it has to be",
                    ));
                }
                if shift + 7 < i64::BITS && byte & 0x40 != 0 {
                    value |= -1 << (shift + 7);
                }
                return Ok(value);
            }
            sign_so_far = byte & 0x40;
        }
        Err(ChangeFault::Malformed("a number does not fit 64 bits"))
    }
}
