#!/bin/sh
# Run once by the PostgreSQL image, as the superuser: what `nexus up` does for the
# embedded server. Migrations run as nexus_owner and make the role that workers use.
set -eu
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --set=password="$NEXUS_DATABASE_PASSWORD" --dbname=postgres <<'SQL'
CREATE ROLE nexus_owner LOGIN NOSUPERUSER CREATEROLE PASSWORD :'password';
CREATE DATABASE nexus OWNER nexus_owner;
\connect nexus
CREATE EXTENSION vector;
SQL
