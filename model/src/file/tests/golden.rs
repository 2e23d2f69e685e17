//! What the reader says to each kind of mistake, word for word: `golden/NAME.yaml` in, `golden/NAME.txt` out.

use super::read;

fn said(text: &str) -> String {
    match read(text, "bindings.yaml") {
        Ok(loaded) => loaded.warnings.to_string(),
        Err(diagnostics) => diagnostics.to_string(),
    }
}

macro_rules! golden {
    ($($name:ident)+) => {$(
        #[test]
        fn $name() {
            let text = include_str!(concat!("golden/", stringify!($name), ".yaml"));
            let expected = include_str!(concat!("golden/", stringify!($name), ".txt"));
            let said = said(text);
            assert_eq!(said, expected.trim_end(), "\n{said}");
        }
    )+};
}

golden! {
    a_mistake_is_blamed_once
    alias_bomb
    auth_by_header
    auth_by_machine
    auth_by_oauth
    auth_types
    auth_with_literals
    bad_limits_of_a_binding
    bad_names
    binding_without_hosts
    contexts
    duplicate_bindings
    duplicate_names_and_keys
    empty_bindings_key
    empty_file
    empty_limits_of_a_binding
    endpoint_without_tls
    foreign_tag
    identities
    integration_details
    literal_secret
    lower_case_method
    merge_key
    missing_version_and_bindings
    not_a_map
    not_supported_yet
    not_yaml
    only_comments
    other_version
    refreshes
    several_documents
    tab_indentation
    tenants
    tunnel_of_a_bound_host
    two_defaults
    unknown_integration
    unknown_key_below_auth
    unknown_keys
    unknown_references
    upstream
    version_as_text
    wildcard_over_a_top_level_domain
    wildcards_in_the_wrong_place
    words_to_choose_from
    wrong_types
    wrong_types_below_auth
}
