//! The extension's SQL, generated from the built library: pgrx leaves a description of every SQL entity in
//! a section of the shared object, and this turns the section into the install script.

use crate::build;
use crate::failure::{Context, Result};
use crate::options::Options;
use crate::server::Server;
use crate::stamp;
use crate::tree::{Tree, VERSION};
use object::{Object, ObjectSection};
use pgrx_sql_entity_graph::section::{decode_entities, is_schema_section_name};
use pgrx_sql_entity_graph::{ControlFile, PgrxSql, SqlGraphEntity};
use std::fs;
use std::path::Path;

/// Prints the SQL of the version that `--pg` names.
pub fn print(tree: &Tree, options: &Options) -> Result<()> {
    let server = Server::installed(tree, options.major())?;
    print!("{}", of_library(tree, &build::library(tree, &server, &[])?)?);
    Ok(())
}

/// The control file's text, with the version filled in.
pub fn control(tree: &Tree) -> Result<String> {
    let file = tree.root.join("damson.control");
    let text = fs::read_to_string(&file).context(|| file.display().to_string())?;
    Ok(text.replace("@CARGO_VERSION@", VERSION))
}

/// The install script of `library`.
pub fn of_library(tree: &Tree, library: &Path) -> Result<String> {
    let named = || library.display().to_string();
    let bytes = fs::read(library).context(named)?;
    let parsed = object::File::parse(&*bytes).context(named)?;
    let section = parsed
        .sections()
        .find(|section| section.name().is_ok_and(is_schema_section_name))
        .ok_or_else(|| format!("{} carries no description of its SQL", named()))?;
    let control =
        ControlFile::from_str_with_cargo_version(&control(tree)?, VERSION).context(|| "damson.control")?;
    let mut entities = vec![SqlGraphEntity::ExtensionRoot(control)];
    entities.extend(decode_entities(section.data().context(named)?).context(named)?);
    let graph = PgrxSql::build(entities.into_iter(), "damson".to_string(), false)
        .map_err(|report| format!("the SQL of {}: {report:#}", named()))?;
    let script = graph.to_sql().map_err(|report| format!("the SQL of {}: {report:#}", named()))?;
    let stamp = stamp::of(&tree.root).context(|| "src/api")?;
    Ok(script.replace("@DAMSON_SQL_STAMP@", &stamp))
}
