//! The values that a statement compares its shard keys with: where they stand in its text, and the keys they are when it runs.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::routing::array;
use crate::routing::parameter;
use crate::routing::refusal::Refusal;
use crate::routing::route::Values;
use crate::sql::ast::{Expr, TypeName};
use crate::sql::literal::LiteralKind;
use crate::topology::KeyType;
use crate::topology::key::{Decimal, KeyFamily, KeyText, KeyValue, compared_float, parse_integer, parse_uuid, uuid_text};

/// A constant of the statement, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Constant {
    Literal(usize),
    Parameter(usize),
    Null,
}

/// The types through which a key may be cast without leaving what the proxy can follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cast {
    SmallInt,
    Integer,
    BigInt,
    Numeric,
    Text,
    Uuid,
}

/// One value, or with `many` the elements of one array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub of: Constant,
    pub negative: bool,
    pub cast: Option<Cast>,
    pub many: bool,
    /// A parameter that is also used where its type may be another: `total = $1 AND user_id = $1` compares numerics.
    pub shared: bool,
    /// IS NOT DISTINCT FROM: NULL is not "matches nothing".
    pub null_safe: bool,
}

/// A value with its type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Typed<'a> {
    Null,
    Integer(i64),
    Decimal(Decimal),
    Float(f64),
    /// Of no type yet: the column's input function reads it.
    Unknown(Cow<'a, [u8]>),
    Text(Cow<'a, [u8]>),
    Uuid([u8; 16]),
    /// PostgreSQL raises an error for it.
    Invalid,
    Unproven(&'static str),
}

impl Value {
    /// The constant that `expr` is: a literal, a parameter or NULL, with a sign and casts that keep the key's meaning.
    pub(crate) fn of(expr: &Expr) -> Option<Self> {
        match expr {
            Expr::Literal(index) => Some(Self::plain(Constant::Literal(*index))),
            Expr::Parameter(number) => Some(Self::plain(Constant::Parameter(*number))),
            Expr::Null => Some(Self::plain(Constant::Null)),
            Expr::Negative(inner) => {
                let value = Self::of(inner).filter(|value| matches!(value.of, Constant::Literal(_)) && !value.negative)?;
                Some(Self { negative: true, ..value })
            }
            Expr::Cast { value, to } => {
                let value = Self::of(value)?;
                let cast = cast_of(to)?;
                (value.cast.is_none() || value.cast == Some(cast)).then_some(Self { cast: Some(cast), ..value })
            }
            _ => None,
        }
    }

    /// The array that `expr` is: a literal or a parameter, cast to an array or not.
    pub(crate) fn array(expr: &Expr) -> Option<Self> {
        let (expr, cast) = match expr {
            Expr::Cast { value, to } if to.array => (value.as_ref(), Some(cast_of(&TypeName { array: false, ..to.clone() })?)),
            expr => (expr, None),
        };
        match Self::of(expr)? {
            Self { negative: false, cast: None, of, .. } => Some(Self { many: true, cast, ..Self::plain(of) }),
            _ => None,
        }
    }

    fn plain(of: Constant) -> Self {
        Self { of, negative: false, cast: None, many: false, shared: false, null_safe: false }
    }

    /// The family of types that PostgreSQL gives the value where nothing else decides.
    pub(crate) fn family(self, literal: impl Fn(usize) -> Option<LiteralKind>) -> Option<KeyFamily> {
        match (self.cast, self.of) {
            (Some(Cast::SmallInt | Cast::Integer | Cast::BigInt), _) => Some(KeyFamily::Integer),
            (Some(Cast::Text), _) => Some(KeyFamily::Text),
            (Some(Cast::Uuid), _) => Some(KeyFamily::Uuid),
            (None, Constant::Literal(index)) => match literal(index)? {
                LiteralKind::Integer => Some(KeyFamily::Integer),
                LiteralKind::Plain | LiteralKind::Escape | LiteralKind::Dollar => Some(KeyFamily::Text),
                _ => None,
            },
            _ => None,
        }
    }

    /// Adds the keys that this value is to `keys`.
    ///
    /// # Errors
    /// `22P03` for a parameter of a wrong length; the reason, when it cannot be told which keys these are.
    pub(crate) fn keys(self, wanted: Wanted, values: &Values<'_>, keys: &mut Keys) -> Result<(), NoKeys> {
        if self.many {
            return array::keys(self, wanted, values, keys);
        }
        let typed = match self.of {
            Constant::Null => Typed::Null,
            Constant::Literal(index) => self.literal(index, values),
            Constant::Parameter(number) => parameter::typed((number, self.shared), self.cast, wanted.key_type, &values.parameters)?,
        };
        if typed == Typed::Null && self.null_safe {
            return Err(NoKeys::Unproven("IS NOT DISTINCT FROM is given a null"));
        }
        wanted.push(cast(typed, self.cast), values, keys)
    }

    /// The key where it stands as its own canonical text: a short decimal number, as most keys are.
    #[inline]
    pub(crate) fn written<'a>(self, key_type: KeyType, values: &Values<'a>) -> Option<&'a [u8]> {
        if self.many || self.negative || self.cast.is_some() {
            return None;
        }
        let text = match self.of {
            Constant::Null => return None,
            Constant::Literal(index) => {
                values.literals.get(index).filter(|literal| literal.kind == LiteralKind::Integer)?.source(values.text)
            }
            Constant::Parameter(number) => parameter::digits_of(number, &values.parameters)?,
        };
        key_type.is_canonical(text).then_some(text)
    }

    fn literal<'a>(self, index: usize, values: &Values<'a>) -> Typed<'a> {
        const UNREADABLE: Typed<'static> = Typed::Unproven("the literal is written in a way the proxy does not read");
        let Some(literal) = values.literals.get(index) else { return UNREADABLE };
        let Some(value) = literal.value(values.text) else { return UNREADABLE };
        match literal.kind {
            LiteralKind::Integer | LiteralKind::Numeric => number(&value, self.negative),
            _ if self.negative => Typed::Unproven("a sign stands before a string"),
            _ => Typed::Unknown(value),
        }
    }
}

/// The keys of one value or list, repetitions included.
pub(crate) type Keys = SmallVec<[KeyText; 1]>;

/// Why a value gives no keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoKeys {
    Unproven(&'static str),
    Refused(Refusal),
}

/// What keys are wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub key_type: KeyType,
    /// Stored by an INSERT, not compared: PostgreSQL casts, and NULL is an error.
    pub assigned: bool,
}

impl Wanted {
    pub(crate) fn push(self, typed: Typed<'_>, values: &Values<'_>, keys: &mut Keys) -> Result<(), NoKeys> {
        match self.key(typed) {
            KeyValue::Key(key) if values.other_encoding && !key.is_ascii() => {
                Err(NoKeys::Unproven("the client's encoding is not UTF-8, of which keys are hashed"))
            }
            KeyValue::Key(key) => {
                keys.push(key);
                Ok(())
            }
            KeyValue::Nothing => Ok(()),
            KeyValue::Unproven(reason) => Err(NoKeys::Unproven(reason)),
        }
    }

    fn key(self, typed: Typed<'_>) -> KeyValue {
        let key_type = self.key_type;
        match typed {
            Typed::Null | Typed::Invalid => KeyValue::Nothing,
            Typed::Unproven(reason) => KeyValue::Unproven(reason),
            Typed::Unknown(value) => self.string(&value),
            Typed::Text(value) if matches!(key_type.family(), KeyFamily::Text | KeyFamily::Char) => self.string(&value),
            // No operator compares them, and no cast assigns them.
            Typed::Text(_) => KeyValue::Nothing,
            Typed::Uuid(uuid) if key_type == KeyType::Uuid => KeyValue::Key(uuid_text(&uuid)),
            Typed::Integer(number) if key_type.family() == KeyFamily::Integer => key_type.integer(number),
            _ if self.assigned && matches!(key_type.family(), KeyFamily::Text | KeyFamily::Char) => {
                KeyValue::Unproven("a value of another type is stored in a text key")
            }
            Typed::Decimal(decimal) if self.assigned => key_type.assigned_decimal(&decimal),
            Typed::Decimal(decimal) => key_type.compared_decimal(&decimal),
            Typed::Float(_) if self.assigned => KeyValue::Unproven("a float is stored in the key"),
            Typed::Float(value) => compared_float(key_type, value),
            Typed::Integer(_) | Typed::Uuid(_) => KeyValue::Nothing,
        }
    }

    fn string(self, value: &[u8]) -> KeyValue {
        if self.assigned { self.key_type.assigned_string(value) } else { self.key_type.string(value) }
    }
}

/// A number as it is written.
fn number(text: &[u8], negative: bool) -> Typed<'static> {
    let mut signed = SmallVec::<[u8; 32]>::new();
    if negative {
        signed.push(b'-');
        signed.extend_from_slice(text);
    }
    let text = if negative { &signed } else { text };
    match parse_integer(text) {
        Some(number) => Typed::Integer(number),
        // None of it: a hexadecimal number beyond 64 bits.
        None => Decimal::parse(text).map_or(Typed::Unproven("the number is too large"), Typed::Decimal),
    }
}

/// What an explicit cast makes of a value.
pub(crate) fn cast(typed: Typed<'_>, to: Option<Cast>) -> Typed<'_> {
    let Some(to) = to else { return typed };
    match (typed, to) {
        (Typed::Unknown(value) | Typed::Text(value), Cast::Text) => Typed::Text(value),
        (Typed::Unknown(value) | Typed::Text(value), Cast::Uuid) => parse_uuid(&value).map_or(Typed::Invalid, Typed::Uuid),
        (Typed::Unknown(value) | Typed::Text(value), Cast::Numeric) => {
            Decimal::parse(value.trim_ascii()).map_or(Typed::Unproven("the number is not finite"), Typed::Decimal)
        }
        (Typed::Unknown(value) | Typed::Text(value), to) => integer(parse_integer(&value), to),
        (Typed::Integer(number), Cast::SmallInt | Cast::Integer | Cast::BigInt | Cast::Numeric) => integer(Some(number), to),
        (Typed::Decimal(decimal), Cast::Numeric) => Typed::Decimal(decimal),
        (Typed::Decimal(decimal), Cast::SmallInt | Cast::Integer | Cast::BigInt) => integer(decimal.round(), to),
        (Typed::Uuid(uuid), Cast::Uuid) => Typed::Uuid(uuid),
        (typed @ (Typed::Null | Typed::Invalid | Typed::Unproven(_)), _) => typed,
        _ => Typed::Unproven("the key is cast in a way the proxy does not follow"),
    }
}

fn integer(number: Option<i64>, to: Cast) -> Typed<'static> {
    let fits = number.filter(|number| match to {
        Cast::SmallInt => i16::try_from(*number).is_ok(),
        Cast::Integer => i32::try_from(*number).is_ok(),
        _ => true,
    });
    fits.map_or(Typed::Invalid, Typed::Integer)
}

/// Casts to built-in types without length: `varchar(2)` would cut the key, `float8` round it.
fn cast_of(to: &TypeName) -> Option<Cast> {
    if !to.builtin || to.modified || to.array {
        return None;
    }
    match to.name.as_str() {
        "int2" => Some(Cast::SmallInt),
        "int4" => Some(Cast::Integer),
        "int8" => Some(Cast::BigInt),
        "numeric" => Some(Cast::Numeric),
        "text" | "varchar" => Some(Cast::Text),
        "uuid" => Some(Cast::Uuid),
        _ => None,
    }
}
