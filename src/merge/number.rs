//! PostgreSQL's `numeric`: order, sums and averages, exact to the last digit and with the scale that PostgreSQL shows.

use std::cmp::Ordering;

use bytes::{BufMut, BytesMut};

/// A `numeric`. Ordered as PostgreSQL orders it: -Infinity, finite ones, Infinity, NaN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Numeric {
    NegativeInfinity,
    Finite(Finite),
    Infinity,
    NaN,
}

/// ± digits × 10^-scale.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finite {
    negative: bool,
    /// 0 to 9 each, without leading zeros; empty for zero.
    digits: Vec<u8>,
    /// Digits behind the point that are shown.
    scale: usize,
}

/// `NUMERIC_MAX_DISPLAY_SCALE` and `NUMERIC_MIN_SIG_DIGITS`.
const SCALE_MAX: i64 = 1_000;
const SIGNIFICANT_MIN: i64 = 16;

impl Numeric {
    /// Reads what `numeric_out` writes.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        match text {
            b"NaN" => return Some(Self::NaN),
            b"Infinity" => return Some(Self::Infinity),
            b"-Infinity" => return Some(Self::NegativeInfinity),
            _ => {}
        }
        let (negative, unsigned) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
        let mut digits = Vec::with_capacity(unsigned.len());
        let mut scale = None;
        for &byte in unsigned {
            match byte {
                b'0'..=b'9' => {
                    digits.push(byte - b'0');
                    scale = scale.map(|scale| scale + 1);
                }
                b'.' if scale.is_none() => scale = Some(0),
                _ => return None,
            }
        }
        if digits.is_empty() {
            return None;
        }
        Some(Self::Finite(Finite::new(negative, digits, scale.unwrap_or(0))))
    }

    /// Reads what `numeric_send` writes: digits, weight, sign, scale, then digits of base 10,000.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut words = bytes.chunks_exact(2).filter_map(|pair| Some(u16::from_be_bytes(pair.try_into().ok()?)));
        let count = usize::from(words.next()?);
        #[expect(clippy::cast_possible_wrap, reason = "the wire's own sign")]
        let weight = i64::from(words.next()? as i16);
        let sign = words.next()?;
        let scale = usize::from(words.next()?);
        if bytes.len() != 8 + 2 * count {
            return None;
        }
        let negative = match sign {
            0 => false,
            0x4000 => true,
            0xC000 => return Some(Self::NaN),
            0xD000 => return Some(Self::Infinity),
            0xF000 => return Some(Self::NegativeInfinity),
            _ => return None,
        };
        let mut digits = Vec::with_capacity(4 * count + scale);
        for word in words {
            for power in [1_000, 100, 10, 1] {
                digits.push(u8::try_from(word / power % 10).ok()?);
            }
        }
        // The digits stand for ± digits × 10^exponent; the scale wants 10^-scale.
        let exponent = 4 * (weight + 1 - i64::try_from(count).ok()?);
        let shift = exponent + i64::try_from(scale).ok()?;
        if shift >= 0 {
            digits.extend(std::iter::repeat_n(0, usize::try_from(shift).ok()?));
        } else {
            let kept = digits.len().saturating_sub(usize::try_from(-shift).ok()?);
            digits.truncate(kept);
        }
        Some(Self::Finite(Finite::new(negative, digits, scale)))
    }

    #[must_use]
    pub fn of(value: i64) -> Self {
        let digits = value.unsigned_abs().to_string().bytes().map(|byte| byte - b'0').collect();
        Self::Finite(Finite::new(value < 0, digits, 0))
    }

    /// As `numeric_add`.
    #[must_use]
    pub fn add(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Finite(a), Self::Finite(b)) => Self::Finite(a.add(b)),
            (Self::NaN, _) | (_, Self::NaN) => Self::NaN,
            (Self::Infinity, Self::NegativeInfinity) | (Self::NegativeInfinity, Self::Infinity) => Self::NaN,
            (Self::Infinity | Self::NegativeInfinity, _) => self.clone(),
            (Self::Finite(_), _) => other.clone(),
        }
    }

    /// As `numeric_div` by a count that is not zero.
    #[must_use]
    pub fn divide(&self, count: i64) -> Self {
        match self {
            Self::Finite(value) => Self::Finite(value.divide(count)),
            other => other.clone(),
        }
    }

    /// As `numeric_out`.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        match self {
            Self::NaN => b"NaN".to_vec(),
            Self::Infinity => b"Infinity".to_vec(),
            Self::NegativeInfinity => b"-Infinity".to_vec(),
            Self::Finite(value) => value.text(),
        }
    }

    /// As `numeric_send`.
    #[must_use]
    pub fn binary(&self) -> Vec<u8> {
        let head = |sign: u16, scale: u16| [0_u16, 0, sign, scale].iter().flat_map(|word| word.to_be_bytes()).collect();
        match self {
            Self::NaN => head(0xC000, 0),
            // The low bits of an infinity's header are read as a scale of 32.
            Self::Infinity => head(0xD000, 0x20),
            Self::NegativeInfinity => head(0xF000, 0x20),
            Self::Finite(value) => value.binary(),
        }
    }

    /// The same for equal values, whatever their scale.
    #[must_use]
    pub fn identity(&self) -> Vec<u8> {
        match self {
            Self::Finite(value) => {
                let zeros = value.digits.iter().rev().take_while(|digit| **digit == 0).count();
                let kept = value.digits.get(..value.digits.len() - zeros).unwrap_or_default();
                let mut identity = vec![u8::from(value.negative)];
                identity.extend((value.scale.cast_signed() - zeros.cast_signed()).to_be_bytes().iter().filter(|_| !kept.is_empty()));
                identity.extend_from_slice(kept);
                identity
            }
            other => other.text(),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::NegativeInfinity => 0,
            Self::Finite(_) => 1,
            Self::Infinity => 2,
            Self::NaN => 3,
        }
    }

    /// As `numeric_cmp`.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Finite(a), Self::Finite(b)) => a.compare(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl Finite {
    fn new(negative: bool, mut digits: Vec<u8>, scale: usize) -> Self {
        let zeros = digits.iter().take_while(|digit| **digit == 0).count();
        digits.drain(..zeros);
        Self { negative: negative && !digits.is_empty(), digits, scale }
    }

    /// The digits with `scale` digits behind the point; `scale` is not less than the value's own.
    fn digits_at(&self, scale: usize) -> Vec<u8> {
        let mut digits = self.digits.clone();
        if !digits.is_empty() {
            digits.extend(std::iter::repeat_n(0, scale - self.scale));
        }
        digits
    }

    fn compare(&self, other: &Self) -> Ordering {
        if self.negative != other.negative {
            return other.negative.cmp(&self.negative);
        }
        let scale = self.scale.max(other.scale);
        let order = compare_digits(&self.digits_at(scale), &other.digits_at(scale));
        if self.negative { order.reverse() } else { order }
    }

    fn add(&self, other: &Self) -> Self {
        let scale = self.scale.max(other.scale);
        let (a, b) = (self.digits_at(scale), other.digits_at(scale));
        if self.negative == other.negative {
            return Self::new(self.negative, plus(&a, &b), scale);
        }
        match compare_digits(&a, &b) {
            Ordering::Less => Self::new(other.negative, minus(&b, &a), scale),
            _ => Self::new(self.negative, minus(&a, &b), scale),
        }
    }

    /// As `select_div_scale` and `div_var` with rounding.
    fn divide(&self, count: i64) -> Self {
        let divisor = Self::new(count < 0, count.unsigned_abs().to_string().bytes().map(|byte| byte - b'0').collect(), 0);
        let (weight, first) = self.leading();
        let (divisor_weight, divisor_first) = divisor.leading();
        let mut quotient_weight = weight - divisor_weight;
        if first <= divisor_first {
            quotient_weight -= 1;
        }
        let scale = (SIGNIFICANT_MIN - quotient_weight * 4).max(self.scale.try_into().unwrap_or(SCALE_MAX)).clamp(0, SCALE_MAX);
        let scale = usize::try_from(scale).unwrap_or(0);
        // One digit more, to round by; a sum's scale is below the bound, so that nothing is cut off before.
        let mut remainder = 0_u128;
        let by = u128::from(count.unsigned_abs().max(1));
        let shift = (scale + 1).saturating_sub(self.scale);
        let mut digits = Vec::with_capacity(self.digits.len() + shift);
        for digit in self.digits.iter().copied().chain(std::iter::repeat_n(0, shift)) {
            remainder = remainder * 10 + u128::from(digit);
            digits.push(u8::try_from(remainder / by).unwrap_or(0));
            remainder %= by;
        }
        let mut rounded = digits.pop().map_or_else(Vec::new, |last| if last >= 5 { plus(&digits, &[1]) } else { digits });
        if self.scale > scale {
            rounded.truncate(rounded.len().saturating_sub(self.scale - scale));
        }
        Self::new(self.negative != (count < 0), rounded, scale)
    }

    /// Weight and value of the first digit of base 10,000 that is not zero.
    fn leading(&self) -> (i64, u32) {
        if self.digits.is_empty() {
            return (0, 0);
        }
        let whole = self.digits.len().cast_signed() - self.scale.cast_signed();
        let weight = (whole - 1).div_euclid(4);
        // How many of the first digits belong to that group.
        let count = usize::try_from((whole - 1).rem_euclid(4) + 1).unwrap_or(1);
        let mut first = 0;
        for at in 0..count {
            first = first * 10 + u32::from(self.digits.get(at).copied().unwrap_or(0));
        }
        (weight as i64, first)
    }

    fn text(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.digits.len() + 3);
        if self.negative {
            text.push(b'-');
        }
        let padding = (self.scale + 1).saturating_sub(self.digits.len());
        let padded = std::iter::repeat_n(0, padding).chain(self.digits.iter().copied());
        let whole = padding + self.digits.len() - self.scale;
        for (at, digit) in padded.enumerate() {
            if at == whole {
                text.push(b'.');
            }
            text.push(b'0' + digit);
        }
        text
    }

    fn binary(&self) -> Vec<u8> {
        // Zeros so that the point stands between two groups of four.
        let behind = self.scale.next_multiple_of(4);
        let mut digits = self.digits.clone();
        digits.extend(std::iter::repeat_n(0, behind - self.scale));
        let front = digits.len().next_multiple_of(4) - digits.len();
        let padded: Vec<u8> = std::iter::repeat_n(0, front).chain(digits).collect();
        let mut groups: Vec<u16> =
            padded.chunks(4).map(|group| group.iter().fold(0, |value, digit| value * 10 + u16::from(*digit))).collect();
        let mut weight = groups.len().cast_signed() - (behind / 4).cast_signed() - 1;
        while groups.last() == Some(&0) {
            groups.pop();
        }
        let leading = groups.iter().take_while(|group| **group == 0).count();
        groups.drain(..leading);
        weight -= leading.cast_signed();
        if groups.is_empty() {
            weight = 0;
        }
        let mut out = BytesMut::new();
        out.put_u16(u16::try_from(groups.len()).unwrap_or(u16::MAX));
        out.put_i16(i16::try_from(weight).unwrap_or(i16::MAX));
        out.put_u16(if self.negative { 0x4000 } else { 0 });
        out.put_u16(u16::try_from(self.scale).unwrap_or(u16::MAX));
        groups.iter().for_each(|group| out.put_u16(*group));
        out.to_vec()
    }
}

/// Neither has leading zeros.
fn compare_digits(a: &[u8], b: &[u8]) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

fn plus(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(a.len().max(b.len()) + 1);
    let mut carry = 0;
    let (mut a, mut b) = (a.iter().rev(), b.iter().rev());
    loop {
        let (left, right) = (a.next(), b.next());
        if left.is_none() && right.is_none() && carry == 0 {
            break;
        }
        let sum = left.copied().unwrap_or(0) + right.copied().unwrap_or(0) + carry;
        out.push(sum % 10);
        carry = sum / 10;
    }
    out.reverse();
    out
}

/// `a` is not less than `b`.
fn minus(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(a.len());
    let mut borrow = 0;
    let mut b = b.iter().rev();
    for digit in a.iter().rev() {
        let taken = b.next().copied().unwrap_or(0) + borrow;
        borrow = u8::from(*digit < taken);
        out.push(*digit + 10 * borrow - taken);
    }
    out.reverse();
    out
}

#[cfg(test)]
mod tests;
