//! Keys that tokens are signed with: RSA, elliptic curves, Ed25519. Public ones; a shared secret is none.
//!
//! Comes in: a set of keys in JSON (JWKS, RFC 7517), or a key in PEM; later what was signed, and the signature. Goes
//! out: yes or no. The arithmetic is ring's, which TLS has here anyway. Pure.

use crate::der::{BIT_STRING, Der, INTEGER, OBJECT_ID, SEQUENCE};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// Keys of a set, at most: further ones are not read.
const MOST: usize = 256;

/// An algorithm that a token may be signed by (RFC 7518, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA, PKCS 1.
    Rs256,
    /// The same.
    Rs384,
    /// The same.
    Rs512,
    /// RSA, PSS.
    Ps256,
    /// The same.
    Ps384,
    /// The same.
    Ps512,
    /// ECDSA with the curve P-256.
    Es256,
    /// ECDSA with the curve P-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// The name in a token.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm with a name; `None` for those that nothing is accepted by here: `none`, and those with a secret
    /// that both sides know.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// Keys by their ids; one may have none.
pub type Keys = HashMap<Option<String>, Arc<Key>>;

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    material: Material,
    /// The only algorithm that it is for, if it says so.
    algorithm: Option<Algorithm>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl Key {
    /// Reads a key of a set.
    ///
    /// # Errors
    /// It is none that a token can be signed with.
    pub fn of_json(key: &Map<String, Value>) -> Result<Self, String> {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let octets = |name: &str| {
            let octets = text(name).and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok());
            octets.ok_or_else(|| format!("'{name}' is missing, or not base64url"))
        };
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return Err("it is not for signatures".into());
        }
        let algorithm = match text("alg") {
            None => None,
            Some(name) => Some(Algorithm::named(name).ok_or("its algorithm is none that is accepted")?),
        };
        let point = || Ok::<_, String>([vec![4], octets("x")?, octets("y")?].concat());
        let material = match (text("kty"), text("crv")) {
            (Some("RSA"), _) => Material::Rsa {
                n: octets("n")?,
                e: octets("e")?,
            },
            (Some("EC"), Some("P-256")) => Material::P256(point()?),
            (Some("EC"), Some("P-384")) => Material::P384(point()?),
            (Some("OKP"), Some("Ed25519")) => Material::Ed25519(octets("x")?),
            _ => return Err("its type is none that is accepted".into()),
        };
        Ok(Self { material, algorithm })
    }

    /// Reads a key in PEM (`BEGIN PUBLIC KEY`).
    ///
    /// # Errors
    /// It is none that a token can be signed with.
    pub fn of_pem(text: &str) -> Result<Self, String> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes());
        let der = der.map_err(|_| "there is no public key in PEM in it")?;
        let material = of_der(&der).ok_or("its type is none that is accepted")?;
        let algorithm = None;
        Ok(Self { material, algorithm })
    }

    /// True if a signature is by this key.
    pub fn verifies(&self, algorithm: Algorithm, signed: &[u8], signed_by: &[u8]) -> bool {
        use Algorithm as A;
        if self.algorithm.is_some_and(|only| only != algorithm) {
            return false;
        }
        let simple = |with: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(with, key).verify(signed, signed_by).is_ok()
        };
        match (&self.material, algorithm) {
            (Material::P256(key), A::Es256) => simple(&signature::ECDSA_P256_SHA256_FIXED, key),
            (Material::P384(key), A::Es384) => simple(&signature::ECDSA_P384_SHA384_FIXED, key),
            (Material::Ed25519(key), A::EdDsa) => simple(&signature::ED25519, key),
            (Material::Rsa { n, e }, algorithm) => {
                let with = match algorithm {
                    A::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                    A::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                    A::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
                    A::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
                    A::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
                    A::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
                    A::Es256 | A::Es384 | A::EdDsa => return false,
                };
                let key = RsaPublicKeyComponents { n, e };
                key.verify(with, signed, signed_by).is_ok()
            }
            _ => false,
        }
    }
}

/// A key as certificates have it (RFC 5280, 4.1.2.7).
fn of_der(der: &[u8]) -> Option<Material> {
    let mut whole = Der(Der(der).read(SEQUENCE)?);
    let mut kind = Der(whole.read(SEQUENCE)?);
    let (&unused, key) = whole.read(BIT_STRING)?.split_first()?;
    let number = kind.read(OBJECT_ID).filter(|_| unused == 0)?;
    let curve = kind.next().map(|(_, curve)| curve);
    match (number, curve) {
        ([0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1], _) => {
            let mut numbers = Der(Der(key).read(SEQUENCE)?);
            let mut number = || {
                let octets = numbers.read(INTEGER)?;
                Some(octets.strip_prefix(&[0]).unwrap_or(octets).to_vec())
            };
            Some(Material::Rsa {
                n: number()?,
                e: number()?,
            })
        }
        ([0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1], Some([0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7])) => {
            Some(Material::P256(key.to_vec()))
        }
        ([0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1], Some([0x2b, 0x81, 4, 0, 0x22])) => Some(Material::P384(key.to_vec())),
        ([0x2b, 0x65, 0x70], _) => Some(Material::Ed25519(key.to_vec())),
        _ => None,
    }
}

/// Reads a set of keys. Those that no token can be signed with are left out.
///
/// # Errors
/// It is no such set, or there is no key in it that is accepted.
pub fn of_set(text: &[u8]) -> Result<Keys, String> {
    let set: Value = serde_json::from_slice(text).map_err(|error| format!("not JSON: {error}"))?;
    let listed = set
        .get("keys")
        .and_then(Value::as_array)
        .ok_or("there is no list 'keys'")?;
    let mut keys = Keys::new();
    let mut fault = "there are none".to_owned();
    for key in listed.iter().take(MOST).filter_map(Value::as_object) {
        let id = key.get("kid").and_then(Value::as_str).map(str::to_owned);
        match Key::of_json(key) {
            Ok(key) => _ = keys.insert(id, Arc::new(key)),
            Err(why) => fault = why,
        }
    }
    match keys.is_empty() {
        true => Err(format!("no key in it is accepted: {fault}")),
        false => Ok(keys),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RSA_PSS_SHA512, RsaKeyPair,
    };
    use serde_json::json;
    use std::process::Command;

    fn key(json: Value) -> Result<Key, String> {
        Key::of_json(json.as_object().expect("a map"))
    }

    fn base64(octets: &[u8]) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(octets)
    }

    fn openssl(arguments: &str, input: Option<&[u8]>) -> Vec<u8> {
        let folder = tempfile::TempDir::new().expect("a folder");
        std::fs::write(folder.path().join("in"), input.unwrap_or_default()).expect("written");
        let made = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(folder.path())
            .output()
            .expect("openssl is installed");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        made.stdout
    }

    #[test]
    fn signatures_of_every_kind_are_verified() {
        let random = SystemRandom::new();
        let private = openssl(
            "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -outform DER",
            None,
        );
        let rsa = RsaKeyPair::from_pkcs8(&private).or_else(|_| RsaKeyPair::from_der(&private));
        let rsa = rsa.expect("a key");
        let components = RsaPublicKeyComponents::<Vec<u8>>::from(rsa.public());
        let of_json = json!({"kty": "RSA", "n": base64(&components.n), "e": base64(&components.e)});
        let pem = openssl("pkey -in in -inform DER -pubout", Some(&private));
        let keys = [key(of_json), Key::of_pem(&String::from_utf8_lossy(&pem))].map(|key| key.expect("a key"));
        assert_eq!(keys[0], keys[1]);
        let mut signature = vec![0; rsa.public().modulus_len()];
        rsa.sign(&RSA_PKCS1_SHA256, &random, b"text", &mut signature)
            .expect("signed");
        assert!(keys[0].verifies(Algorithm::Rs256, b"text", &signature));
        for algorithm in Algorithm::ALL
            .into_iter()
            .filter(|algorithm| *algorithm != Algorithm::Rs256)
        {
            assert!(
                !keys[0].verifies(algorithm, b"text", &signature),
                "{}",
                algorithm.name()
            );
        }
        assert!(!keys[0].verifies(Algorithm::Rs256, b"texT", &signature));
        rsa.sign(&RSA_PSS_SHA512, &random, b"text", &mut signature)
            .expect("signed");
        assert!(keys[0].verifies(Algorithm::Ps512, b"text", &signature));
        for (with, curve, algorithm) in [
            (&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256", Algorithm::Es256),
            (&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384", Algorithm::Es384),
        ] {
            let private = EcdsaKeyPair::generate_pkcs8(with, &random).expect("a key");
            let pair = EcdsaKeyPair::from_pkcs8(with, private.as_ref(), &random).expect("a key");
            let (x, y) = pair.public_key().as_ref()[1..].split_at((pair.public_key().as_ref().len() - 1) / 2);
            let of_json = key(json!({"kty": "EC", "crv": curve, "x": base64(x), "y": base64(y)})).expect("a key");
            let pem = openssl("pkey -in in -inform DER -pubout", Some(private.as_ref()));
            assert_eq!(Key::of_pem(&String::from_utf8_lossy(&pem)).expect("a key"), of_json);
            let signature = pair.sign(&random, b"text").expect("signed");
            assert!(of_json.verifies(algorithm, b"text", signature.as_ref()));
            assert!(!of_json.verifies(algorithm, b"texT", signature.as_ref()));
            assert!(!of_json.verifies(Algorithm::Rs256, b"text", signature.as_ref()));
        }
        let private = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
        let pair = Ed25519KeyPair::from_pkcs8(private.as_ref()).expect("a key");
        let of_json = json!({"kty": "OKP", "crv": "Ed25519", "x": base64(pair.public_key().as_ref())});
        assert!(
            key(of_json)
                .expect("a key")
                .verifies(Algorithm::EdDsa, b"text", pair.sign(b"text").as_ref())
        );
    }

    #[test]
    fn a_set_is_its_keys_that_can_be_used() {
        let rsa = json!({"kty": "RSA", "kid": "a", "n": "AQAB", "e": "AQAB", "use": "sig", "alg": "RS256"});
        let mut encryption = rsa.clone();
        encryption["use"] = json!("enc");
        let secret = json!({"kty": "oct", "kid": "s", "k": "c2VjcmV0", "alg": "HS256"});
        let plain = json!({"kty": "OKP", "crv": "Ed25519", "x": "AQAB"});
        let set = json!({"keys": [rsa, encryption, secret, 5, plain]}).to_string();
        let keys = of_set(set.as_bytes()).expect("keys");
        let mut ids: Vec<_> = keys.keys().map(Option::as_deref).collect();
        ids.sort();
        assert_eq!(ids, [None, Some("a")]);
        for (wrong, why) in [
            ("", "not JSON"),
            ("{}", "no list 'keys'"),
            (r#"{"keys":[]}"#, "there are none"),
            (
                r#"{"keys":[{"kty":"oct","k":"eA"}]}"#,
                "its type is none that is accepted",
            ),
            (r#"{"keys":[{"kty":"RSA","n":"!","e":"AQAB"}]}"#, "'n' is missing"),
        ] {
            let refused = of_set(wrong.as_bytes()).expect_err("refused");
            assert!(refused.contains(why), "{wrong}: {refused}");
        }
        let many: Vec<Value> = (0..3 * MOST)
            .map(|id| json!({"kty": "OKP", "crv": "Ed25519", "x": "AQAB", "kid": id.to_string()}))
            .collect();
        assert_eq!(
            of_set(json!({"keys": many}).to_string().as_bytes()).map(|keys| keys.len()),
            Ok(MOST)
        );
        assert!(Key::of_pem("-----BEGIN PUBLIC KEY-----\nAQAB\n-----END PUBLIC KEY-----\n").is_err());
        assert!(Key::of_pem("").is_err());
    }
}
