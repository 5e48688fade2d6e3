//! RowDescription: the columns of an answer, and whether those of all shards agree.

use bytes::{BufMut, BytesMut};

use crate::wire::DecodeError;
use crate::wire::reader::Reader;
use crate::wire::to_server::message;

/// One column, as RowDescription tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: Vec<u8>,
    pub table_oid: i32,
    pub attribute: i16,
    pub type_oid: u32,
    pub type_bytes: i16,
    pub modifier: i32,
    /// 0 text, 1 binary.
    pub format: i16,
}

/// The columns of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    pub fields: Vec<Field>,
}

/// Types that the servers' users have made have oids from here on (`FirstNormalObjectId`): other ones on each server.
const FIRST_USER_OID: u32 = 16_384;

impl Shape {
    /// Decodes RowDescription's body.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let count = u16::from_be_bytes(reader.i16()?.to_be_bytes());
        let mut fields = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            fields.push(Field {
                name: reader.string()?.to_vec(),
                table_oid: reader.i32()?,
                attribute: reader.i16()?,
                type_oid: u32::from_be_bytes(reader.i32()?.to_be_bytes()),
                type_bytes: reader.i16()?,
                modifier: reader.i32()?,
                format: reader.i16()?,
            });
        }
        reader.end()?;
        Ok(Self { fields })
    }

    /// RowDescription without the last `hidden` columns.
    pub fn encode(&self, hidden: usize, out: &mut BytesMut) {
        let shown = self.fields.len().saturating_sub(hidden);
        message(out, b'T', |out| {
            out.put_u16(u16::try_from(shown).unwrap_or(u16::MAX));
            for field in self.fields.iter().take(shown) {
                out.put_slice(&field.name);
                out.put_u8(0);
                out.put_i32(field.table_oid);
                out.put_i16(field.attribute);
                out.put_u32(field.type_oid);
                out.put_i16(field.type_bytes);
                out.put_i32(field.modifier);
                out.put_i16(field.format);
            }
        });
    }

    /// Whether rows of `other` may stand among rows of this shape. Oids of tables and of users' types are each server's own; the binary
    /// form of a user's type may hold such oids.
    #[must_use]
    pub fn agrees(&self, other: &Self) -> bool {
        let alike = |(a, b): (&Field, &Field)| {
            let user_types = a.type_oid >= FIRST_USER_OID && b.type_oid >= FIRST_USER_OID;
            let types = a.type_oid == b.type_oid || user_types && a.format == 0;
            types && a.name == b.name && a.type_bytes == b.type_bytes && a.modifier == b.modifier && a.format == b.format
        };
        self.fields.len() == other.fields.len() && self.fields.iter().zip(&other.fields).all(alike)
    }
}
