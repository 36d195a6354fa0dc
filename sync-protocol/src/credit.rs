//! Who may send how much: bytes of `push`, `feed` and `fragment` frames by credit, all other
//! frames by rate.

use crate::limits;

/// What this side may still send.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowance(u64);

/// Credit beyond [`limits::CREDIT_MAX`] or what fits a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {} bytes of credit stand open", limits::CREDIT_MAX)]
pub struct TooGenerous;

impl Allowance {
    /// Begins with `bytes`.
    pub fn new(bytes: u64) -> Self {
        Self(bytes.min(limits::CREDIT_MAX))
    }

    /// Bytes that may be sent.
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// Takes what the other side grants.
    ///
    /// # Errors
    /// [`TooGenerous`], so that granting costs a peer something: what stands open is bounded.
    pub fn grant(&mut self, bytes: u64) -> Result<(), TooGenerous> {
        let open = self
            .0
            .checked_add(bytes)
            .filter(|open| *open <= limits::CREDIT_MAX);
        self.0 = open.ok_or(TooGenerous)?;
        Ok(())
    }

    /// Uses up the bytes of a frame. Callers ask [`Self::bytes`] first.
    pub fn spend(&mut self, bytes: usize) {
        debug_assert!(
            bytes as u64 <= self.0,
            "a frame is sent only where credit allows"
        );
        self.0 = self.0.saturating_sub(bytes as u64);
    }
}

/// What the other side may still send, and what is due to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    open: u64,
    due: u64,
}

/// The other side sent more than it was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more bytes were sent than granted")]
pub struct Overrun;

impl Window {
    /// Lets the other side send `bytes`.
    pub fn new(bytes: u64) -> Self {
        Self {
            open: bytes,
            due: 0,
        }
    }

    /// Lets the other side send `bytes` more, beyond what is due.
    pub fn widen(&mut self, bytes: u64) {
        self.open = self.open.saturating_add(bytes);
    }

    /// Counts a frame that arrived.
    ///
    /// # Errors
    /// [`Overrun`] if it was not granted.
    pub fn receive(&mut self, bytes: usize) -> Result<(), Overrun> {
        self.open = self.open.checked_sub(bytes as u64).ok_or(Overrun)?;
        Ok(())
    }

    /// Notes bytes that are dealt with.
    pub fn settle(&mut self, bytes: u64) {
        self.due = self.due.saturating_add(bytes);
    }

    /// Gives back what is due once it is worth a frame.
    pub fn grant(&mut self) -> Option<u64> {
        if self.due < limits::CREDIT_STEP {
            return None;
        }
        let due = std::mem::take(&mut self.due);
        self.open = self.open.saturating_add(due);
        Some(due)
    }
}

/// Bounds frames that need no credit to [`limits::FREE_FRAMES_PER_SECOND`], as many at once.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Thousandths of a frame, so that slow and fast clocks count the same.
    left: u64,
    at: u64,
}

/// More frames than are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {} frames in a second", limits::FREE_FRAMES_PER_SECOND)]
pub struct TooFast;

impl Rate {
    const FULL: u64 = limits::FREE_FRAMES_PER_SECOND as u64 * 1_000;

    /// Begins full at `now`, in milliseconds.
    pub fn new(now: u64) -> Self {
        Self {
            left: Self::FULL,
            at: now,
        }
    }

    /// Counts one frame at `now`.
    ///
    /// # Errors
    /// [`TooFast`] if the allowance is used up.
    pub fn count(&mut self, now: u64) -> Result<(), TooFast> {
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        let refill = passed.saturating_mul(u64::from(limits::FREE_FRAMES_PER_SECOND));
        self.left = self.left.saturating_add(refill).min(Self::FULL);
        self.left = self.left.checked_sub(1_000).ok_or(TooFast)?;
        Ok(())
    }

    /// When half of the allowance is there again. A sender that counts its own frames begins nothing
    /// new before: the other half is for what it has begun, and for frames that were held up on
    /// their way and come together.
    pub fn half_full_at(&self) -> u64 {
        let lacking = (Self::FULL / 2).saturating_sub(self.left);
        let per_ms = u64::from(limits::FREE_FRAMES_PER_SECOND);
        self.at.saturating_add(lacking.div_ceil(per_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_beyond_the_window_is_an_overrun() {
        let mut window = Window::new(10_000);
        assert_eq!(window.receive(4_096), Ok(()));
        assert_eq!(window.receive(4_096), Ok(()));
        assert_eq!(window.receive(4_096), Err(Overrun));
    }

    #[test]
    fn credit_comes_back_once_it_is_worth_a_frame() {
        let mut window = Window::new(limits::CREDIT_STEP);
        window.receive(16_384).unwrap();
        window.settle(16_383);
        assert_eq!(window.grant(), None);
        window.settle(1);
        assert_eq!(window.grant(), Some(16_384));
        assert_eq!(window.grant(), None);
        assert_eq!(window.receive(16_384), Ok(()));
    }

    #[test]
    fn half_of_the_free_frames_are_there_again_after_as_much_of_a_second() {
        let free = u64::from(limits::FREE_FRAMES_PER_SECOND);
        let mut rate = Rate::new(1_000);
        for _ in 0..free / 2 {
            rate.count(2_000).unwrap();
            assert!(rate.half_full_at() <= 2_000);
        }
        for _ in 0..free / 4 {
            rate.count(2_000).unwrap();
        }
        assert_eq!(rate.half_full_at(), 2_250);
    }

    #[test]
    fn nobody_grants_without_bound() {
        let mut allowance = Allowance::new(u64::MAX);
        assert_eq!(allowance.bytes(), limits::CREDIT_MAX);
        assert_eq!(allowance.grant(1), Err(TooGenerous));
        allowance.spend(4_096);
        assert_eq!(allowance.grant(u64::MAX), Err(TooGenerous));
        assert_eq!(allowance.grant(4_096), Ok(()));
    }

    #[test]
    fn a_clock_that_goes_back_earns_nothing() {
        let mut rate = Rate::new(5_000);
        for _ in 0..64 {
            rate.count(5_000).unwrap();
        }
        assert_eq!(rate.count(4_000), Err(TooFast));
        assert_eq!(rate.count(5_000), Err(TooFast));
    }

    #[test]
    fn a_second_refills_the_rate_and_no_more() {
        let mut rate = Rate::new(5_000);
        for _ in 0..64 {
            rate.count(5_000).unwrap();
        }
        assert_eq!(rate.count(5_000), Err(TooFast));
        assert_eq!(rate.count(5_015), Err(TooFast));
        assert_eq!(rate.count(5_032), Ok(()));
        for _ in 0..64 {
            rate.count(99_000).unwrap();
        }
        assert_eq!(rate.count(99_000), Err(TooFast));
    }
}
