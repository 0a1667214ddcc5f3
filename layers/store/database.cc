#include "layers/store/database.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <cerrno>
#include <cstring>

#include "layers/base/error.h"
#include "layers/store/catalogue.h"

namespace surcoat {
namespace {

constexpr int kBusyTimeoutMs = 30'000;
constexpr std::string_view kConstraint = "the catalogue refused a row: ";

}  // namespace

Database::Database(const std::filesystem::path& file, bool create) : file_(file) {
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX | (create ? SQLITE_OPEN_CREATE : 0);
    try {
        if (const int code = ::sqlite3_open_v2(file.c_str(), &handle_, flags, nullptr); code != SQLITE_OK) {
            fail(code, "open");
        }
        ::sqlite3_extended_result_codes(handle_, 1);
        ::sqlite3_busy_timeout(handle_, kBusyTimeoutMs);
        // Counts only before the first table is made; asking for it later would take the write lock.
        if (create && integer("PRAGMA user_version").value_or(0) == 0)
            script("PRAGMA auto_vacuum=INCREMENTAL");
        script(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
            "PRAGMA cache_size=-16000; PRAGMA temp_store=MEMORY; PRAGMA journal_size_limit=0;");
        // The log and its index stay when the last process closes: what lies on disk is the same while somebody
        // looks and afterwards, so that df's total can be checked with du.
        int keep = 1;
        ::sqlite3_file_control(handle_, "main", SQLITE_FCNTL_PERSIST_WAL, &keep);
    } catch (...) {
        for (auto& [sql, cached] : cache_) ::sqlite3_finalize(cached.statement);
        ::sqlite3_close_v2(handle_);
        throw;
    }
}

Database::~Database() {
    for (auto& [sql, cached] : cache_) ::sqlite3_finalize(cached.statement);
    ::sqlite3_close_v2(handle_);
}

void Database::fail(int code, std::string_view doing) const {
    const std::string message = handle_ != nullptr ? ::sqlite3_errmsg(handle_) : ::sqlite3_errstr(code);
    const int os = handle_ != nullptr ? ::sqlite3_system_errno(handle_) : 0;
    const std::string what = fmt::format("cannot {} the catalogue '{}': {}", doing, file_.string(), message);
    switch (code & 0xff) {
        case SQLITE_FULL:
            throw os_error(fmt::format("{} the catalogue '{}'", doing, file_.string()), ENOSPC);
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
            throw Error(Errc::conflict,
                        fmt::format("another process has held the write lock of the catalogue "
                                    "'{}' for {} s",
                                    file_.string(), kBusyTimeoutMs / 1000))
                .hint("wait for the surcoat processes that use this store, or end them");
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
            throw Error(Errc::corrupt, what)
                .hint("run `surcoat fsck`; restore store.sqlite from a backup if you have one");
        case SQLITE_READONLY:
        case SQLITE_PERM:
        case SQLITE_AUTH:
            throw Error(Errc::denied, what).hint("the store must belong to the user who runs surcoat");
        case SQLITE_CANTOPEN:
            throw Error(os == EACCES ? Errc::denied : Errc::io,
                        fmt::format("{} ({})", what, os != 0 ? std::strerror(os) : "no reason given"));
        case SQLITE_IOERR:
            if (os == ENOSPC || os == EDQUOT) {
                throw os_error(fmt::format("{} the catalogue '{}'", doing, file_.string()), os);
            }
            throw Error(Errc::io,
                        fmt::format("{} ({})", what, os != 0 ? std::strerror(os) : "no reason given"));
        case SQLITE_CONSTRAINT:
            throw Error(Errc::conflict, fmt::format("{}{}", kConstraint, message));
        default:
            throw Error(Errc::failed, what);
    }
}

bool Database::is_constraint(const std::exception& error) {
    const auto* ours = dynamic_cast<const Error*>(&error);
    return ours != nullptr && ours->code() == Errc::conflict &&
           ours->message().compare(0, kConstraint.size(), kConstraint) == 0;
}

Database::Statement Database::prepare(std::string_view sql) {
    Cached& cached = cache_[std::string(sql)];
    const auto compile = [&] {
        sqlite3_stmt* statement = nullptr;
        const int code = ::sqlite3_prepare_v3(handle_, sql.data(), static_cast<int>(sql.size()),
                                              SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
        if (code != SQLITE_OK) fail(code, "read");
        return statement;
    };
    if (cached.busy) return Statement(*this, compile(), nullptr);  // a query inside the loop over its like
    if (cached.statement == nullptr) cached.statement = compile();
    cached.busy = true;
    return Statement(*this, cached.statement, &cached);
}

void Database::script(const char* sql) {
    if (const int code = ::sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr); code != SQLITE_OK)
        fail(code, "write");
}

std::int64_t Database::changes() const {
    return ::sqlite3_changes64(handle_);
}

std::int64_t Database::last_id() const {
    return ::sqlite3_last_insert_rowid(handle_);
}

bool Database::in_transaction() const {
    return ::sqlite3_get_autocommit(handle_) == 0;
}

void Database::transaction(Access access, const std::function<void()>& body) {
    if (in_transaction()) {
        if (access == Access::read) {
            body();
            return;
        }
        throw Error(Errc::failed, "a write to the catalogue was begun inside another transaction");
    }
    script(access == Access::write ? "BEGIN IMMEDIATE" : "BEGIN");
    try {
        body();
        script("COMMIT");
    } catch (...) {
        // SQLite has rolled back by itself after some errors (a full disk, I/O).
        if (in_transaction()) ::sqlite3_exec(handle_, "ROLLBACK", nullptr, nullptr, nullptr);
        throw;
    }
}

bool Database::try_write(const std::function<void()>& body) {
    ::sqlite3_busy_timeout(handle_, 0);
    bool begun = false;
    try {
        transaction(Access::write, [&] {
            begun = true;
            ::sqlite3_busy_timeout(handle_, kBusyTimeoutMs);
            body();
        });
    } catch (const Error& error) {
        ::sqlite3_busy_timeout(handle_, kBusyTimeoutMs);
        if (begun || error.code() != Errc::conflict) throw;
        return false;
    }
    return true;
}

void Database::checkpoint() {
    ::sqlite3_busy_timeout(handle_, 0);  // a reader in the way only means: another time
    ::sqlite3_wal_checkpoint_v2(handle_, nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
    ::sqlite3_busy_timeout(handle_, kBusyTimeoutMs);
}

// ---- Statement

Database::Statement::Statement(Statement&& other) noexcept
    : database_(other.database_),
      statement_(std::exchange(other.statement_, nullptr)),
      cached_(std::exchange(other.cached_, nullptr)),
      bound_(other.bound_) {}

Database::Statement::~Statement() {
    if (statement_ == nullptr) return;
    if (cached_ == nullptr) {
        ::sqlite3_finalize(statement_);
        return;
    }
    ::sqlite3_reset(statement_);
    ::sqlite3_clear_bindings(statement_);
    cached_->busy = false;
}

bool Database::Statement::step() {
    const int code = ::sqlite3_step(statement_);
    if (code == SQLITE_ROW) return true;
    if (code == SQLITE_DONE) return false;
    database_->fail(code, ::sqlite3_stmt_readonly(statement_) != 0 ? "read" : "write");
}

void Database::Statement::reset() {
    ::sqlite3_reset(statement_);
    bound_ = 0;
}

void Database::Statement::check_bound(int code) {
    if (code != SQLITE_OK) database_->fail(code, "fill in a query of");
}

void Database::Statement::bind_next(std::int64_t value) {
    check_bound(::sqlite3_bind_int64(statement_, ++bound_, value));
}
void Database::Statement::bind_null() {
    check_bound(::sqlite3_bind_null(statement_, ++bound_));
}
void Database::Statement::bind_next(std::string_view value) {
    const char* data = value.data() != nullptr ? value.data() : "";
    check_bound(
        ::sqlite3_bind_text64(statement_, ++bound_, data, value.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
}
void Database::Statement::bind_next(ByteSpan value) {
    check_bound(::sqlite3_bind_blob64(statement_, ++bound_, value.data(), value.size(), SQLITE_TRANSIENT));
}

bool Database::Statement::null(int column) const {
    return ::sqlite3_column_type(statement_, column) == SQLITE_NULL;
}
std::int64_t Database::Statement::integer(int column) const {
    return ::sqlite3_column_int64(statement_, column);
}
std::string Database::Statement::text(int column) const {
    const auto* data = reinterpret_cast<const char*>(::sqlite3_column_text(statement_, column));
    if (data == nullptr) return {};
    return std::string(data, static_cast<std::size_t>(::sqlite3_column_bytes(statement_, column)));
}
ByteSpan Database::Statement::blob(int column) const {
    const auto* data = static_cast<const std::byte*>(::sqlite3_column_blob(statement_, column));
    return {data, data == nullptr ? 0 : static_cast<std::size_t>(::sqlite3_column_bytes(statement_, column))};
}
Digest Database::Statement::digest(int column) const {
    return Digest::parse(text(column));
}
ObjectId Database::Statement::object(int column) const {
    ObjectId id;
    const ByteSpan bytes = blob(column);
    if (bytes.size() != id.hash.size()) {
        throw Error(Errc::corrupt,
                    fmt::format("the catalogue holds an object name of {} bytes, not 32", bytes.size()))
            .hint("run `surcoat fsck`");
    }
    std::memcpy(id.hash.data(), bytes.data(), bytes.size());
    return id;
}
std::optional<std::int64_t> Database::Statement::optional_integer(int column) const {
    if (null(column)) return std::nullopt;
    return integer(column);
}

std::string database_library_version() {
    return sqlite3_libversion();
}

}  // namespace surcoat
