//! Session tokens: a device shows one instead of signing a challenge.
//!
//! `device(32) ‖ expires_at(8, little endian) ‖ tag(32)`, where the tag is an HMAC-SHA256 under a
//! key derived from the server's own, so that tokens survive a restart and need no table. What a
//! token cannot know is revocation: whoever accepts one asks the device's row too.

use bukti_core::hash::{Hasher, domain};
use bukti_core::id::{DeviceId, WallMs};
use ed25519_dalek::SigningKey;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const BODY_BYTES: usize = 40;
const TOKEN_BYTES: usize = BODY_BYTES + 32;

/// The key under which tokens are made and checked.
#[derive(Clone)]
pub struct TokenKey([u8; 32]);

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

/// Why a token does not hold. All are answered by a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token of this server.
    #[error("the token is not by this server")]
    Forged,
    /// Too old.
    #[error("the token has expired")]
    Expired,
}

impl TokenKey {
    /// Derives the key from the server's secret key.
    pub fn derive(server: &SigningKey) -> Self {
        Self(Hasher::new(domain::TOKEN).fixed(server.as_bytes()).finish())
    }

    /// Makes a token for `device` that holds before `expires_at`.
    pub fn issue(&self, device: &DeviceId, expires_at: WallMs) -> Vec<u8> {
        let mut token = Vec::with_capacity(TOKEN_BYTES);
        token.extend_from_slice(&device.0);
        token.extend_from_slice(&expires_at.to_le_bytes());
        let tag = self.mac(&token).finalize().into_bytes();
        token.extend_from_slice(&tag);
        token
    }

    /// Tells whose token this is. The tag is compared in constant time.
    ///
    /// # Errors
    /// [`TokenError`] if it is not by this key, or has expired at `now`.
    pub fn check(&self, token: &[u8], now: WallMs) -> Result<DeviceId, TokenError> {
        let body = token.get(..BODY_BYTES).ok_or(TokenError::Forged)?;
        self.mac(body)
            .verify_slice(&token[BODY_BYTES..])
            .map_err(|_| TokenError::Forged)?;
        let (device, expires_at) = body.split_at(DeviceId::LENGTH);
        let expires_at = expires_at.try_into().map_err(|_| TokenError::Forged)?;
        if now >= WallMs::from_le_bytes(expires_at) {
            return Err(TokenError::Expired);
        }
        DeviceId::try_from(device).map_err(|_| TokenError::Forged)
    }

    fn mac(&self, body: &[u8]) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0);
        mac.expect("HMAC takes keys of any length")
            .chain_update(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_holds_for_its_device_until_it_expires() {
        let key = TokenKey::derive(&SigningKey::from_bytes(&[1; 32]));
        let device = DeviceId([2; 32]);
        let token = key.issue(&device, 1_000);
        assert_eq!(key.check(&token, 999), Ok(device));
        assert_eq!(key.check(&token, 1_000), Err(TokenError::Expired));
        let other = TokenKey::derive(&SigningKey::from_bytes(&[3; 32]));
        assert_eq!(other.check(&token, 999), Err(TokenError::Forged));
    }

    #[test]
    fn no_bit_and_no_byte_of_a_token_can_change() {
        let key = TokenKey::derive(&SigningKey::from_bytes(&[1; 32]));
        let token = key.issue(&DeviceId([2; 32]), 1_000);
        for bit in 0..token.len() * 8 {
            let mut flipped = token.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.check(&flipped, 0), Err(TokenError::Forged), "bit {bit}");
        }
        for length in 0..token.len() {
            assert_eq!(key.check(&token[..length], 0), Err(TokenError::Forged));
        }
    }
}
