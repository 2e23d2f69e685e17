//! `postern ca export`: the certificate that agents must trust, alone or in front of the system's roots.

use anyhow::Result;

use crate::arguments::{Ca, Place};
use crate::bureau::ca_pem;
use crate::trust::TrustAnchors;

pub(crate) async fn ca(place: &Place, command: &Ca) -> Result<()> {
    let Ca::Export { bundle } = command;
    let pem = ca_pem(place).await?;
    if !bundle {
        print!("{pem}");
        return Ok(());
    }
    let anchors = TrustAnchors::beside_system_roots(&pem)?;
    for warning in anchors.warnings() {
        eprintln!("warning: {warning}");
    }
    print!("{}", anchors.bundle_pem());
    Ok(())
}
