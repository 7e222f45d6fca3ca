//! Z85 (RFC 32): keys as text, 5 characters for 4 octets.
//!
//! Comes in: octets, or text. Goes out: the other. Does not know what the octets are.

use zeroize::Zeroizing;

const ALPHABET: &[u8; 85] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// Octets of a key as text; 40 characters.
#[must_use]
pub fn encode(octets: &[u8; 32]) -> String {
    let mut text = String::with_capacity(40);
    for chunk in octets.as_chunks::<4>().0 {
        let number = u32::from_be_bytes(*chunk);
        for power in [85_u32.pow(4), 85_u32.pow(3), 85_u32.pow(2), 85, 1] {
            let digit = (number / power % 85) as usize;
            text.extend(ALPHABET.get(digit).map(|character| char::from(*character)));
        }
    }
    text
}

/// The octets of a key; `None` if the text isn't 40 characters of Z85.
#[must_use]
pub fn decode(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    if text.len() != 40 {
        return None;
    }
    let mut octets = Zeroizing::new([0; 32]);
    for (out, digits) in octets.as_chunks_mut::<4>().0.iter_mut().zip(text.as_bytes().chunks(5)) {
        let mut number = 0_u64;
        for character in digits {
            let digit = ALPHABET.iter().position(|known| known == character)?;
            number = number * 85 + digit as u64;
        }
        *out = u32::try_from(number).ok()?.to_be_bytes();
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_keys_of_the_specification() {
        // RFC 32's test case four times over, the length of a key, and libzmq's test key.
        let hello = *b"\x86\x4f\xd2\x6f\xb5\x59\xf7\x5b";
        let octets = [hello, hello, hello, hello].concat();
        assert_eq!(encode(octets.as_slice().try_into().unwrap()), "HelloWorld".repeat(4));
        let key = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";
        assert_eq!(encode(&decode(key).unwrap()), key);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert!(decode("").is_none());
        assert!(decode(&"#".repeat(40)).is_none(), "above 32 bits");
        assert!(decode(&"~".repeat(40)).is_none(), "outside of the alphabet");
        assert!(decode(&"é".repeat(20)).is_none());
        assert!(decode(&"0".repeat(39)).is_none());
        assert!(decode(&"0".repeat(45)).is_none());
    }

    proptest! {
        #[test]
        fn keys_lead_back(octets in any::<[u8; 32]>()) {
            prop_assert_eq!(*decode(&encode(&octets)).unwrap(), octets);
        }
    }
}
