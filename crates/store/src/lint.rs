use sqlx::PgPool;

use crate::error::Error;

/// A breach of the rules that keep tenants apart.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What it is about: a table, view, function or role.
    pub subject: String,
    pub problem: String,
}

/// Tables that are read before a tenant is known. Nothing else may be added.
const EXEMPT: &str = "system.api_keys";

/// Each query gives `(subject, problem)` for what breaks its rule.
///
/// # Source
/// The leaks that were seen when row-level security was attacked: owners and superusers, plain
/// and materialised views, definer functions, partitions queried directly, keys and foreign keys
/// without the tenant, and policies that evaluate the setting for each row.
const RULES: [&str; 7] = [
    // Every table of ours has a tenant, row-level security that binds the owner too, and a policy.
    "SELECT n.nspname || '.' || c.relname,
       CASE WHEN NOT EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND a.attnotnull)
              THEN 'has no tenant_id NOT NULL'
            WHEN NOT c.relrowsecurity THEN 'has no row-level security'
            WHEN NOT c.relforcerowsecurity THEN 'does not force row-level security on its owner'
            ELSE 'has no policy on app.tenant_id with a WITH CHECK' END
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'public')
       AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname || '.' || c.relname <> $1
       AND (NOT c.relrowsecurity OR NOT c.relforcerowsecurity
         OR NOT EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND a.attnotnull)
         OR NOT EXISTS (SELECT 1 FROM pg_policies p WHERE p.schemaname = n.nspname AND p.tablename = c.relname
              AND p.qual LIKE '%( SELECT %app.tenant_id%' AND p.with_check LIKE '%( SELECT %app.tenant_id%'))",
    // Keys begin with the tenant: otherwise a clash tells what another tenant has.
    "SELECT x.indexrelid::regclass::text, 'is a unique index that does not begin with tenant_id'
     FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE x.indisunique AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'public')
       AND n.nspname || '.' || c.relname <> $1
       AND (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = x.indkey[0]) IS DISTINCT FROM 'tenant_id'",
    // Foreign keys carry the tenant: otherwise another tenant's row is accepted.
    "SELECT k.conrelid::regclass::text, 'has foreign key ' || k.conname || ' without tenant_id'
     FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE k.contype = 'f' AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND $1 <> ''
       AND NOT EXISTS (SELECT 1 FROM unnest(k.conkey) u(num) JOIN pg_attribute a
             ON a.attrelid = k.conrelid AND a.attnum = u.num WHERE a.attname = 'tenant_id')",
    // Views run as whoever asks; materialised views cannot.
    "SELECT n.nspname || '.' || c.relname,
       CASE c.relkind WHEN 'm' THEN 'is a materialised view' ELSE 'is a view without security_invoker' END
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('v', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'public') AND $1 <> ''
       AND (c.relkind = 'm' OR NOT coalesce(c.reloptions::text, '') LIKE '%security_invoker=true%')",
    "SELECT n.nspname || '.' || p.proname, 'is a SECURITY DEFINER function'
     FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE p.prosecdef AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND $1 <> ''",
    "SELECT r.rolname::text, 'may bypass row-level security or make roles'
     FROM pg_roles r WHERE r.rolname = 'nexus_app' AND $1 <> ''
       AND (r.rolsuper OR r.rolbypassrls OR r.rolcreaterole OR r.rolcreatedb
         OR EXISTS (SELECT 1 FROM pg_auth_members m WHERE m.member = r.oid))",
    "SELECT n.nspname || '.' || c.relname, 'is owned by, or may be truncated by, the application'
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND $1 <> ''
       AND (pg_get_userbyid(c.relowner) = 'nexus_app' OR has_table_privilege('nexus_app', c.oid, 'TRUNCATE'))",
];

/// Checks the database's catalogue against the rules; empty when all is well.
///
/// # Errors
/// [`Error::Lint`] when the catalogue cannot be read.
pub async fn lint(pool: &PgPool) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for rule in RULES {
        let rows: Vec<(String, String)> =
            sqlx::query_as(rule).bind(EXEMPT).fetch_all(pool).await.map_err(Error::Lint)?;
        findings.extend(rows.into_iter().map(|(subject, problem)| Finding { subject, problem }));
    }
    Ok(findings)
}
