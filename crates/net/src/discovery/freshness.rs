//! How long a fetched key set is used before the issuer is asked again.

use http::HeaderMap;
use http::header::CACHE_CONTROL;
use portcullis_core::time::Lifetime;

/// Without `Cache-Control: max-age`.
const USUAL: Lifetime = Lifetime::from_minutes(5);
/// However short the issuer says: an issuer must not make every request wait for it.
const SHORTEST: Lifetime = Lifetime::from_minutes(1);
/// However long the issuer says: a key that it withdrew must not live on here for longer.
const LONGEST: Lifetime = Lifetime::from_hours(1);

/// The freshness lifetime of an answer (RFC 9111 §4.2.1), within our bounds.
pub(super) fn lifetime(headers: &HeaderMap) -> Lifetime {
    let directives = || {
        headers
            .get_all(CACHE_CONTROL)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
    };
    let named = |name: &str, directive: &str| directive.trim().eq_ignore_ascii_case(name);
    if directives().any(|directive| named("no-store", directive) || named("no-cache", directive)) {
        return SHORTEST;
    }
    let max_age = directives().find_map(|directive| {
        let (name, value) = directive.split_once('=')?;
        if named("max-age", name) {
            value.trim().trim_matches('"').parse().ok()
        } else {
            None
        }
    });
    max_age.map_or(USUAL, |secs| Lifetime::from_secs(secs).clamp(SHORTEST, LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_age_counts_within_bounds() {
        let rows = [
            (vec![], 300),
            (vec!["public"], 300),
            (vec!["max-age=x"], 300),
            (vec!["public, max-age=600"], 600),
            (vec!["Public", "Max-Age = \"600\""], 600),
            (vec!["s-maxage=600"], 300),
            (vec!["max-age=60"], 60),
            (vec!["max-age=59"], 60),
            (vec!["max-age=0"], 60),
            (vec!["max-age=3600"], 3600),
            (vec!["max-age=3601"], 3600),
            (vec!["max-age=99999999999999999999999"], 300),
            (vec!["no-store, max-age=600"], 60),
            (vec!["No-Cache"], 60),
        ];
        for (values, secs) in rows {
            let mut headers = HeaderMap::new();
            for value in &values {
                headers.append(CACHE_CONTROL, value.parse().unwrap());
            }
            assert_eq!(lifetime(&headers), Lifetime::from_secs(secs), "{values:?}");
        }
    }
}
