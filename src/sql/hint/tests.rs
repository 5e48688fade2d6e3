//! Hints in comments.

use crate::sql::hint::{CommentHint, read};

#[test]
fn hints_are_read_from_comments() {
    let cases = [
        ("/* shardyard: key=42 */", CommentHint { key: Some("42".to_owned()), ..CommentHint::default() }),
        (
            "/* shardyard: key = 'it''s here', replica */",
            CommentHint { key: Some("it's here".to_owned()), replica: true, ..CommentHint::default() },
        ),
        ("-- shardyard: shard=3\n/* other */", CommentHint { shard: Some(3), ..CommentHint::default() }),
        (
            "/* shardyard: primary */ /* shardyard: key=1 */",
            CommentHint { primary: true, key: Some("1".to_owned()), ..CommentHint::default() },
        ),
        ("/* shardyard: reference */", CommentHint { reference: true, ..CommentHint::default() }),
        ("/* shardyard: shard=many */", CommentHint { unknown: Some("shard".to_owned()), ..CommentHint::default() }),
        ("/* shardyard: fast */", CommentHint { unknown: Some("fast".to_owned()), ..CommentHint::default() }),
        ("/* key=42 */", CommentHint::default()),
    ];
    for (text, expected) in cases {
        assert_eq!(read(text.as_bytes()), expected, "{text}");
    }
}
