//! Rows as values. A value that does not parse was never written by us.

use portcullis_core::ids::{ClientId, ResourceUri, ScopeSet, Subject};
use portcullis_core::oauth::server::opaque::OpaqueHash;
use portcullis_core::time::UnixTime;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::Error;

/// Reads columns of one row.
pub(super) struct Columns<'r>(pub(super) &'r SqliteRow);

impl Columns<'_> {
    pub(super) fn text(&self, name: &str) -> Result<&str, Error> {
        Ok(self.0.try_get(name)?)
    }

    pub(super) fn text_or_none(&self, name: &str) -> Result<Option<&str>, Error> {
        Ok(self.0.try_get(name)?)
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, Error> {
        Ok(self.0.try_get::<i64, _>(name)? != 0)
    }

    pub(super) fn time(&self, name: &str) -> Result<UnixTime, Error> {
        Ok(UnixTime::from_millis(self.0.try_get(name)?))
    }

    pub(super) fn time_or_none(&self, name: &str) -> Result<Option<UnixTime>, Error> {
        Ok(self.0.try_get::<Option<i64>, _>(name)?.map(UnixTime::from_millis))
    }

    pub(super) fn hash_or_none(&self, name: &str) -> Result<Option<OpaqueHash>, Error> {
        let bytes: Option<&[u8]> = self.0.try_get(name)?;
        bytes
            .map(|bytes| OpaqueHash::from_bytes(bytes).ok_or(Error::Damaged("hash")))
            .transpose()
    }

    pub(super) fn scopes(&self, name: &str) -> Result<ScopeSet, Error> {
        ScopeSet::parse(self.text(name)?).map_err(|_| Error::Damaged("scope"))
    }

    pub(super) fn client(&self, name: &str) -> Result<ClientId, Error> {
        ClientId::parse(self.text(name)?).map_err(|_| Error::Damaged("client id"))
    }

    pub(super) fn user(&self, name: &str) -> Result<Subject, Error> {
        Subject::parse(self.text(name)?).map_err(|_| Error::Damaged("user name"))
    }

    pub(super) fn resource(&self, name: &str) -> Result<ResourceUri, Error> {
        ResourceUri::parse(self.text(name)?).map_err(|_| Error::Damaged("resource"))
    }
}
