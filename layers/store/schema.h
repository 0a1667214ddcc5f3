#pragma once

namespace surcoat {

class Database;

/// Version of the tables, kept in SQLite's user_version.
inline constexpr int kSchemaVersion = 1;

/// Makes the tables (layers/store/README.md, "The catalogue") unless they are there, in one transaction.
void create_schema(Database& database);

}  // namespace surcoat
