#include "layers/store/catalogue.h"

#include <fmt/format.h>

#include "layers/base/error.h"
#include "layers/base/file.h"
#include "layers/base/file_lock.h"
#include "layers/store/database.h"
#include "layers/store/schema.h"

namespace surcoat {
namespace {

std::unique_ptr<Database> open_database(const std::filesystem::path& file) {
    if (lstat_path(file)) {
        auto database = std::make_unique<Database>(file, false);
        const std::int64_t version = database->integer("PRAGMA user_version").value_or(0);
        if (version == kSchemaVersion) return database;
        if (version != 0) {
            throw Error(Errc::unsupported,
                        fmt::format("the catalogue '{}' has version {}; this program knows version {}",
                                    file.string(), version, kSchemaVersion))
                .hint("use the surcoat that wrote it, or another store (--store)");
        }
    }
    // Two that find nothing: one makes it, the other waits, for SQLite does not queue a change to WAL mode.
    make_directories(file.parent_path() / "lock", 0700);
    const FileLock lock =
        FileLock::acquire(file.parent_path() / "lock" / "catalogue", FileLock::Mode::exclusive);
    auto database = std::make_unique<Database>(file, true);
    create_schema(*database);
    return database;
}

LayerRow layer_row(Database::Statement& row) {
    return {DiffId{row.digest(0)}, row.size(1), row.size(2), row.size(3), row.size(4), row.integer(5)};
}
constexpr const char* kLayerColumns =
    "SELECT diff_id, archive_bytes, content_bytes, entries, toc_bytes, added_at FROM layers ";

Compression compression_named(const std::string& name) {
    for (const Compression c : {Compression::gzip, Compression::zstd, Compression::bzip2, Compression::xz}) {
        if (to_string(c) == name) return c;
    }
    return Compression::none;
}

LayerBlobRow layer_blob_row(Database::Statement& row) {
    return {row.digest(0), DiffId{row.digest(1)}, compression_named(row.text(2)), row.size(3)};
}
constexpr const char* kLayerBlobColumns =
    "SELECT b.blob, l.diff_id, b.compression, b.size FROM layer_blobs b JOIN layers l ON l.number = b.layer ";

}  // namespace

Catalogue::Catalogue(const std::filesystem::path& file) : file_(file), database_(open_database(file)) {}
Catalogue::~Catalogue() = default;
Catalogue::Catalogue(Catalogue&&) noexcept = default;

void Catalogue::while_closed(const std::function<void()>& body) {
    if (database_->in_transaction())
        throw Error(Errc::failed, "the catalogue cannot be closed inside a transaction");
    database_.reset();
    try {
        body();
    } catch (...) {
        database_ = open_database(file_);
        throw;
    }
    database_ = open_database(file_);
}

std::int64_t Catalogue::generation() {
    return database_->integer("SELECT value FROM meta WHERE key = 'generation'").value_or(0);
}

void Catalogue::snapshot(const std::function<void()>& body) {
    database_->transaction(Database::Access::read, [&] {
        generation();  // SQLite fixes what is seen at the first read, not at BEGIN
        body();
    });
}

void Catalogue::write(const std::function<void(Write&)>& body) {
    database_->transaction(Database::Access::write, [&] {
        database_->run("UPDATE meta SET value = value + 1 WHERE key = 'generation'");
        Write write(*database_);
        body(write);
    });
}

// ---- layers, blobs, objects

std::optional<LayerRow> Catalogue::layer(const DiffId& id) {
    auto query = database_->prepare(std::string(kLayerColumns) + "WHERE diff_id = ?");
    query.bind(id);
    if (!query.step()) return std::nullopt;
    return layer_row(query);
}

std::vector<LayerRow> Catalogue::layers() {
    std::vector<LayerRow> rows;
    auto query = database_->prepare(std::string(kLayerColumns) + "ORDER BY number");
    while (query.step()) rows.push_back(layer_row(query));
    return rows;
}

std::optional<LayerBlobRow> Catalogue::layer_blob(const Digest& blob) {
    auto query = database_->prepare(std::string(kLayerBlobColumns) + "WHERE b.blob = ?");
    query.bind(blob);
    if (!query.step()) return std::nullopt;
    return layer_blob_row(query);
}

std::vector<LayerBlobRow> Catalogue::layer_blobs(const DiffId& id) {
    std::vector<LayerBlobRow> rows;
    auto query = database_->prepare(std::string(kLayerBlobColumns) + "WHERE l.diff_id = ? ORDER BY b.blob");
    query.bind(id);
    while (query.step()) rows.push_back(layer_blob_row(query));
    return rows;
}

std::optional<BlobRow> Catalogue::blob(const Digest& digest) {
    auto query = database_->prepare("SELECT size, media_type FROM blobs WHERE digest = ?");
    query.bind(digest);
    if (!query.step()) return std::nullopt;
    return BlobRow{digest, query.size(0), query.text(1)};
}

std::vector<BlobRow> Catalogue::blobs() {
    std::vector<BlobRow> rows;
    auto query = database_->prepare("SELECT digest, size, media_type FROM blobs ORDER BY digest");
    while (query.step()) rows.push_back({query.digest(0), query.size(1), query.text(2)});
    return rows;
}

bool Catalogue::has_object(const ObjectId& id) {
    return object_size(id).has_value();
}

std::optional<std::uint64_t> Catalogue::object_size(const ObjectId& id) {
    const auto size = database_->integer("SELECT size FROM objects WHERE id = ? AND condemned IS NULL", id);
    if (!size) return std::nullopt;
    return static_cast<std::uint64_t>(*size);
}

// ---- images and names

namespace {

constexpr const char* kImageColumns = "SELECT number, id, manifest, added_at, created_at FROM images ";

std::vector<ImageRow> image_rows(Database& database, const std::string& where,
                                 const std::optional<std::string>& argument) {
    std::vector<ImageRow> rows;
    auto query = database.prepare(kImageColumns + where);
    if (argument) query.bind(*argument);
    while (query.step()) {
        ImageRow row{query.digest(1), query.digest(2), {}, query.integer(3), query.optional_integer(4)};
        auto layers = database.prepare(
            "SELECT l.diff_id FROM image_layers i JOIN layers l ON l.number = i.layer "
            "WHERE i.image = ? ORDER BY i.position");
        layers.bind(query.integer(0));
        while (layers.step()) row.layers.push_back(DiffId{layers.digest(0)});
        rows.push_back(std::move(row));
    }
    return rows;
}

std::vector<NameRow> name_rows(Database& database, const std::string& where,
                               const std::optional<std::string>& argument) {
    std::vector<NameRow> rows;
    auto query =
        database.prepare("SELECT n.name, i.id, n.set_at FROM names n JOIN images i ON i.number = n.image " +
                         where + " ORDER BY n.name");
    if (argument) query.bind(*argument);
    while (query.step()) rows.push_back({query.text(0), query.digest(1), query.integer(2)});
    return rows;
}

template <typename T>
std::optional<T> first(std::vector<T> rows) {
    if (rows.empty()) return std::nullopt;
    return std::move(rows.front());
}

/// `prefix` is hex from a user; anything else matches nothing.
bool is_hex(const std::string& text) {
    return text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

}  // namespace

// Each read that takes several queries is a snapshot of its own, so that it sees one generation.

std::optional<ImageRow> Catalogue::image(const Digest& id) {
    std::optional<ImageRow> row;
    snapshot([&] { row = first(image_rows(*database_, "WHERE id = ?", id.str())); });
    return row;
}

std::vector<ImageRow> Catalogue::images() {
    std::vector<ImageRow> rows;
    snapshot([&] { rows = image_rows(*database_, "ORDER BY number", {}); });
    return rows;
}

std::vector<ImageRow> Catalogue::images_by_prefix(const std::string& hex_prefix) {
    std::vector<ImageRow> rows;
    if (hex_prefix.empty() || !is_hex(hex_prefix)) return rows;
    snapshot([&] {
        rows = image_rows(*database_, "WHERE substr(id, instr(id, ':') + 1) GLOB ? ORDER BY number",
                          hex_prefix + "*");
    });
    return rows;
}

std::optional<NameRow> Catalogue::name(const std::string& name) {
    return first(name_rows(*database_, "WHERE n.name = ?", name));
}
std::vector<NameRow> Catalogue::names() {
    return name_rows(*database_, "", {});
}
std::vector<NameRow> Catalogue::names_of(const Digest& image) {
    return name_rows(*database_, "WHERE i.id = ?", image.str());
}

// ---- containers

namespace {

constexpr const char* kContainerColumns =
    "SELECT c.number, c.id, c.name, i.id, c.image_name, c.spec, c.state, c.monitor_pid, c.monitor_ticks, "
    "c.monitor_boot, c.init_pid, c.init_ticks, c.init_boot, c.exit_code, c.created_at, c.started_at, "
    "c.finished_at FROM containers c JOIN images i ON i.number = c.image ";

std::optional<ProcessIdentity> process(Database::Statement& row, int column) {
    if (row.null(column)) return std::nullopt;
    return ProcessIdentity{static_cast<pid_t>(row.integer(column)), row.size(column + 1),
                           row.text(column + 2)};
}

std::vector<ContainerRow> container_rows(Database& database, const std::string& where,
                                         const std::optional<std::string>& argument) {
    std::vector<ContainerRow> rows;
    auto query = database.prepare(kContainerColumns + where);
    if (argument) query.bind(*argument);
    while (query.step()) {
        ContainerRow row{.id = query.text(1),
                         .name = query.text(2),
                         .image = query.digest(3),
                         .image_name = query.text(4),
                         .layers = {},
                         .spec = query.text(5),
                         .state = query.text(6),
                         .monitor = process(query, 7),
                         .init = process(query, 10),
                         .exit_code = static_cast<int>(query.integer(13)),
                         .created_at = query.integer(14),
                         .started_at = query.integer(15),
                         .finished_at = query.integer(16)};
        auto layers = database.prepare(
            "SELECT l.diff_id FROM container_layers c JOIN layers l ON l.number = c.layer "
            "WHERE c.container = ? ORDER BY c.position");
        layers.bind(query.integer(0));
        while (layers.step()) row.layers.push_back(DiffId{layers.digest(0)});
        rows.push_back(std::move(row));
    }
    return rows;
}

}  // namespace

std::vector<ContainerRow> Catalogue::containers() {
    std::vector<ContainerRow> rows;
    snapshot([&] { rows = container_rows(*database_, "ORDER BY c.number", {}); });
    return rows;
}

std::optional<ContainerRow> Catalogue::container_by_id(const std::string& id) {
    std::optional<ContainerRow> row;
    snapshot([&] { row = first(container_rows(*database_, "WHERE c.id = ?", id)); });
    return row;
}

std::optional<ContainerRow> Catalogue::container_by_name(const std::string& name) {
    std::optional<ContainerRow> row;
    snapshot([&] { row = first(container_rows(*database_, "WHERE c.name = ?", name)); });
    return row;
}

std::vector<ContainerRow> Catalogue::containers_by_prefix(const std::string& id_prefix) {
    std::vector<ContainerRow> rows;
    if (id_prefix.empty() || !is_hex(id_prefix)) return rows;
    snapshot(
        [&] { rows = container_rows(*database_, "WHERE c.id GLOB ? ORDER BY c.number", id_prefix + "*"); });
    return rows;
}

std::uint64_t Catalogue::container_count() {
    return static_cast<std::uint64_t>(database_->integer("SELECT count(*) FROM containers").value_or(0));
}

// ---- cache and events

namespace {

constexpr const char* kCacheColumns =
    "SELECT c.key, c.parts, l.diff_id, c.used_at FROM cache c LEFT JOIN layers l ON l.number = c.layer ";

CacheRow cache_row(Database::Statement& row) {
    std::optional<DiffId> layer;
    if (!row.null(2)) layer = DiffId{row.digest(2)};
    return {row.text(0), row.text(1), std::move(layer), row.integer(3)};
}

}  // namespace

std::optional<CacheRow> Catalogue::cache(const std::string& key) {
    auto query = database_->prepare(std::string(kCacheColumns) + "WHERE c.key = ?");
    query.bind(key);
    if (!query.step()) return std::nullopt;
    return cache_row(query);
}

std::vector<CacheRow> Catalogue::cache_rows() {
    std::vector<CacheRow> rows;
    auto query = database_->prepare(std::string(kCacheColumns) + "ORDER BY c.key");
    while (query.step()) rows.push_back(cache_row(query));
    return rows;
}

std::vector<EventRow> Catalogue::events(std::int64_t after_sequence) {
    std::vector<EventRow> rows;
    auto query =
        database_->prepare("SELECT number, at, type, detail FROM events WHERE number > ? ORDER BY number");
    query.bind(after_sequence);
    while (query.step()) rows.push_back({query.integer(0), query.integer(1), query.text(2), query.text(3)});
    return rows;
}

}  // namespace surcoat
