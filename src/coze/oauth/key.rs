//! The private key of an OAuth app, and what is signed with it.
//!
//! In come a PEM text and claims, out comes a signed JWT. Reads no files, and
//! never shows a key.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Serialize;

use crate::secret::Secret;

/// An RSA key that can sign.
pub(super) struct Key(KeyPair);

// By hand: it is a secret.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

/// A text is no key that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no key in it.
    #[error("there is no private key in PEM form in it (an encrypted one cannot be used)")]
    NoKey,
    /// It is of another kind.
    #[error("it is no RSA key of 2048 to 8192 bits")]
    NotRsa,
}

/// A key could not sign.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the private key could not sign")]
pub(super) struct NotSigned;

/// What a JWT says.
#[derive(Debug, Serialize)]
pub(super) struct Claims<'a> {
    /// The OAuth app.
    pub(super) iss: &'a str,
    /// Who it is for: the host name of Coze's API.
    pub(super) aud: &'a str,
    /// When it was made, in seconds since 1970.
    pub(super) iat: u64,
    /// Until when it holds.
    pub(super) exp: u64,
    /// Unlike any other's.
    pub(super) jti: &'a str,
    /// Sets what is done with the token apart from other sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session_name: Option<&'a str>,
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    typ: &'static str,
    kid: &'a str,
}

impl Key {
    /// Reads a key in PEM form, PKCS #8 or PKCS #1.
    ///
    /// # Errors
    /// If there is none, or of another kind.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| KeyError::NoKey)?;
        let key = match &der {
            PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()),
            _ => return Err(KeyError::NotRsa),
        };
        key.map(Self).map_err(|_| KeyError::NotRsa)
    }

    /// A JWT with these claims; `kid` names the public key to Coze.
    ///
    /// # Errors
    /// If the machine has no randomness.
    pub(super) fn sign(&self, kid: &str, claims: &Claims<'_>) -> Result<Secret, NotSigned> {
        let header = part(&Header { alg: "RS256", typ: "JWT", kid });
        let signed = format!("{header}.{}", part(claims));
        let mut signature = vec![0; self.0.public_modulus_len()];
        let random = SystemRandom::new();
        let done = self.0.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature);
        done.map_err(|_| NotSigned)?;
        Ok(Secret::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }
}

fn part(value: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).expect("strings and numbers always serialise"))
}

#[cfg(test)]
pub(crate) mod tests {
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value, json};

    use super::*;

    /// A new key as a PEM text, and its public half.
    pub(crate) fn new_key() -> (String, Vec<u8>) {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let text = STANDARD.encode(der.as_ref());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
        (pem, pair.public_key().as_ref().to_vec())
    }

    #[test]
    fn what_is_signed_can_be_verified_and_says_what_was_claimed() {
        let (pem, public) = new_key();
        let key = Key::from_pem(pem.as_bytes()).unwrap();
        let claims =
            Claims { iss: "11", aud: "api.coze.cn", iat: 5, exp: 605, jti: "j", session_name: Some("s") };
        let jwt = key.sign("fingerprint", &claims).unwrap();
        let parts: Vec<&str> = jwt.expose().split('.').collect();
        let [header, body, signature] = parts[..] else { panic!("three parts") };
        let json =
            |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        assert_eq!(json(header), json!({"alg": "RS256", "typ": "JWT", "kid": "fingerprint"}));
        let said =
            json!({"iss": "11", "aud": "api.coze.cn", "iat": 5, "exp": 605, "jti": "j", "session_name": "s"});
        assert_eq!(json(body), said);
        let verify = |message: &str| {
            let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &public);
            public.verify(message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
        };
        assert!(verify(&format!("{header}.{body}")).is_ok());
        assert!(verify(&format!("{header}.{body}x")).is_err());
        assert_eq!(format!("{key:?} {jwt}"), "Key(***) ***");
    }

    #[test]
    fn what_is_no_key_is_told_from_one_of_another_kind() {
        let (pem, _) = new_key();
        let cut = pem.replace("PRIVATE KEY", "PUBLIC KEY");
        for none in ["", "-----BEGIN PRIVATE KEY-----\n", "pat_123", &cut] {
            assert_eq!(Key::from_pem(none.as_bytes()).unwrap_err(), KeyError::NoKey, "{none}");
        }
        let elliptic = rcgen::KeyPair::generate().unwrap().serialize_pem();
        assert_eq!(Key::from_pem(elliptic.as_bytes()).unwrap_err(), KeyError::NotRsa);
    }
}
