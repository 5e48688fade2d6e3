//! Settings: differences as SQL, lists.

use crate::backend::settings::{SettingSet, SettingValue, list_elements, quoted_literal};

fn set(pairs: &[(&str, SettingValue)]) -> SettingSet {
    let mut settings = SettingSet::default();
    for (name, value) in pairs {
        settings.set(name, Some(value.clone()));
    }
    settings
}

#[test]
fn the_difference_leaves_a_role_first_and_takes_one_last() {
    let had = set(&[("role", SettingValue::Sql("alice".into())), ("timezone", SettingValue::Raw("UTC".into()))]);
    let wanted = set(&[("role", SettingValue::Sql("bob".into())), ("search_path", SettingValue::Sql("a, b".into()))]);
    assert_eq!(
        had.statements_towards(&wanted).as_deref(),
        Some("RESET role;RESET \"timezone\";SET SESSION \"search_path\" = a, b;SET SESSION \"role\" = bob;")
    );
    assert_eq!(had.statements_towards(&had), None);
}

#[test]
fn lists_are_read_as_postgresql_reads_them() {
    let cases = [
        (SettingValue::Raw("\"$user\", Public".into()), vec!["$user", "public"]),
        (SettingValue::Raw("\"a\"\"b\",c".into()), vec!["a\"b", "c"]),
        (SettingValue::Sql("'A, b', \"C\", d".into()), vec!["A, b", "C", "d"]),
        (SettingValue::Raw(String::new()), vec![]),
    ];
    for (value, expected) in cases {
        assert_eq!(list_elements(&value), expected, "{value:?}");
    }
}

#[test]
fn literals_survive_both_string_modes() {
    assert_eq!(quoted_literal("it's"), "'it''s'");
    assert_eq!(quoted_literal("a\\'b"), " E'a\\\\''b'");
}
