#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "layers/base/bytes.h"
#include "layers/digest.h"

struct sqlite3;
struct sqlite3_stmt;

namespace surcoat {

/// One connection to an SQLite database, as this folder uses it: WAL, synchronous=FULL, foreign keys checked,
/// a busy timeout of 30 s. From one thread at a time; not across fork().
///
/// Every member throws: Errc::conflict when the write lock was not got in time, no_space on a full disk,
/// corrupt when the file is damaged, denied when it may not be written, conflict for a broken constraint
/// (the caller says what that means), failed for the rest.
class Database {
  public:
    /// Opens; with `create` also makes a missing file.
    Database(const std::filesystem::path& file, bool create);
    ~Database();
    Database(const Database&) = delete;
    Database& operator=(const Database&) = delete;

    class Statement;
    /// A prepared statement, kept for the next time that the same text is asked for.
    Statement prepare(std::string_view sql);
    /// Binds, runs to the end, returns how many rows were changed.
    template <typename... Arguments>
    std::int64_t run(std::string_view sql, const Arguments&... arguments);
    /// First column of the first row; nothing if there is no row or it is NULL.
    template <typename... Arguments>
    std::optional<std::int64_t> integer(std::string_view sql, const Arguments&... arguments);
    /// Several statements without parameters.
    void script(const char* sql);

    std::int64_t last_id() const;
    std::int64_t changes() const;  ///< rows that the last INSERT, UPDATE or DELETE touched

    enum class Access { read, write };
    /// BEGIN (read: a snapshot; write: IMMEDIATE), `body`, COMMIT; ROLLBACK when it throws. A read inside any
    /// transaction is part of it; a write inside another transaction throws Errc::failed.
    void transaction(Access access, const std::function<void()>& body);
    bool in_transaction() const;

    /// A write that is given up (false) when somebody else is writing.
    bool try_write(const std::function<void()>& body);

    /// Writes the log back into the file and cuts it, if nobody is in the way.
    void checkpoint();

    /// Whether `error` came from a UNIQUE, FOREIGN KEY or other constraint.
    static bool is_constraint(const std::exception& error);

  private:
    struct Cached {
        sqlite3_stmt* statement = nullptr;
        bool busy = false;
    };
    [[noreturn]] void fail(int code, std::string_view doing) const;

    std::filesystem::path file_;
    sqlite3* handle_ = nullptr;
    std::unordered_map<std::string, Cached> cache_;
};

/// A running statement: bind from left to right, then step through its rows. Goes back to the cache when it
/// goes. Columns count from 0.
class Database::Statement {
  public:
    Statement(Statement&& other) noexcept;
    Statement& operator=(Statement&&) = delete;
    ~Statement();

    template <typename... Arguments>
    Statement& bind(const Arguments&... arguments) {
        (bind_next(arguments), ...);
        return *this;
    }
    /// False at the end.
    bool step();
    /// Ready to be bound and run again.
    void reset();

    bool null(int column) const;
    std::int64_t integer(int column) const;
    std::uint64_t size(int column) const { return static_cast<std::uint64_t>(integer(column)); }
    std::string text(int column) const;
    ByteSpan blob(int column) const;  ///< until the next step
    Digest digest(int column) const;
    ObjectId object(int column) const;
    std::optional<std::int64_t> optional_integer(int column) const;

  private:
    friend class Database;
    Statement(Database& database, sqlite3_stmt* statement, Cached* cached)
        : database_(&database), statement_(statement), cached_(cached) {}

    void bind_next(std::int64_t value);
    void bind_next(std::uint64_t value) { bind_next(static_cast<std::int64_t>(value)); }
    void bind_next(int value) { bind_next(std::int64_t{value}); }
    void bind_next(std::string_view value);
    void bind_next(const std::string& value) { bind_next(std::string_view(value)); }
    void bind_next(const char* value) { bind_next(std::string_view(value)); }
    void bind_next(ByteSpan value);
    void bind_next(const Digest& value) { bind_next(std::string_view(value.str())); }
    void bind_next(const DiffId& value) { bind_next(value.digest); }
    void bind_next(const ObjectId& value) { bind_next(ByteSpan(value.hash)); }
    void bind_null();
    template <typename T>
    void bind_next(const std::optional<T>& value) {
        if (value) {
            bind_next(*value);
        } else {
            bind_null();
        }
    }
    void check_bound(int code);

    Database* database_;
    sqlite3_stmt* statement_;
    Cached* cached_;  ///< null: not from the cache, finalised when this goes
    int bound_ = 0;
};

template <typename... Arguments>
std::int64_t Database::run(std::string_view sql, const Arguments&... arguments) {
    Statement statement = prepare(sql);
    statement.bind(arguments...);
    while (statement.step()) {}
    return changes();
}

template <typename... Arguments>
std::optional<std::int64_t> Database::integer(std::string_view sql, const Arguments&... arguments) {
    Statement statement = prepare(sql);
    statement.bind(arguments...);
    if (!statement.step()) return std::nullopt;
    return statement.optional_integer(0);
}

}  // namespace surcoat
