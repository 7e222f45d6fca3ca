//! Keys as ZeroMQ writes them: Z85, five characters for four octets (RFC 32).
//!
//! Comes in: a text, or a key. Goes out: the other. Pure.

const DIGITS: &[u8; 85] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// The 32 octets that 40 characters stand for.
pub fn decode_key(text: &str) -> Option<[u8; 32]> {
    let text = Some(text.as_bytes()).filter(|text| text.len() == 40)?;
    let mut octets = [0; 32];
    for (five, four) in text.chunks(5).zip(octets.chunks_mut(4)) {
        let mut value: u32 = 0;
        for letter in five {
            let digit = DIGITS.iter().position(|digit| digit == letter)?;
            value = value.checked_mul(85)?.checked_add(digit as u32)?;
        }
        four.copy_from_slice(&value.to_be_bytes());
    }
    Some(octets)
}

/// The characters for a key.
pub fn encode_key(octets: &[u8; 32]) -> String {
    let mut text = String::with_capacity(40);
    for four in octets.chunks(4) {
        let value = four.iter().fold(0u32, |value, octet| value << 8 | u32::from(*octet));
        for place in (0..5).rev() {
            let digit = value / 85u32.pow(place) % 85;
            text.push(DIGITS.get(digit as usize).map_or('0', |digit| char::from(*digit)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_of_the_specification_read_and_write() {
        // RFC 26, the client's public key of the test case.
        let octets: [u8; 32] = [
            0xBB, 0x88, 0x47, 0x1D, 0x65, 0xE2, 0x65, 0x9B, 0x30, 0xC5, 0x5A, 0x53, 0x21, 0xCE, 0xBB, 0x5A, 0xAB, 0x2B,
            0x70, 0xA3, 0x98, 0x64, 0x5C, 0x26, 0xDC, 0xA2, 0xB2, 0xFC, 0xB4, 0x3F, 0xC5, 0x18,
        ];
        let text = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
        assert_eq!(encode_key(&octets), text);
        assert_eq!(decode_key(text), Some(octets));
        assert_eq!(decode_key(&text[1..]), None);
        assert_eq!(decode_key(&text.replace('@', "~")), None);
        assert_eq!(decode_key(&"#".repeat(40)), None, "more than 32 bits");
    }

    proptest! {
        #[test]
        fn every_key_reads_back(octets: [u8; 32]) {
            prop_assert_eq!(decode_key(&encode_key(&octets)), Some(octets));
        }
    }
}
