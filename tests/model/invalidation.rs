//! The ledger of `larder`, as it is.

#[path = "../../src/invalidation/ban.rs"]
mod ban;
#[path = "../../src/invalidation/ledger/mod.rs"]
mod ledger;

pub(crate) use ban::What;
pub(crate) use ledger::{Batch, Checked, Claim, Force, Ledger, Limits, Record, Seq, Standing};

/// Rows, which a model numbers itself.
mod row {
    pub(crate) type Row = u64;

    #[derive(Clone, Debug, Default)]
    pub(crate) struct RowHasher {}
}
