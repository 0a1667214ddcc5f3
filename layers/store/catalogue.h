#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "layers/base/process.h"
#include "layers/compression.h"
#include "layers/digest.h"

namespace surcoat {

/// The store's only truth: an SQLite database in WAL mode (layers/store/README.md has the tables). What is
/// not named here does not exist, whatever lies on disk; counts are queries, never stored.
///
/// Readers see one generation and wait for nobody. Writers queue for SQLite's write lock (up to 30 s, then
/// Errc::conflict naming the lock). From one thread at a time; any number of processes.

struct LayerRow {
    DiffId diff_id;
    std::uint64_t archive_bytes = 0;  ///< the uncompressed archive
    std::uint64_t content_bytes = 0;  ///< sum of its files' sizes
    std::uint64_t entries = 0;
    std::uint64_t toc_bytes = 0;
    std::int64_t added_at = 0;  ///< seconds after 1970
};

/// A compressed (or plain) form of a layer that was seen: blob digest → layer. The blob itself may or may not
/// be kept.
struct LayerBlobRow {
    Digest blob;
    DiffId diff_id;
    Compression compression = Compression::none;
    std::uint64_t size = 0;
};

struct BlobRow {
    Digest digest;
    std::uint64_t size = 0;
    std::string media_type;
};

struct ImageRow {
    Digest id;                   ///< of the configuration: docker's image ID
    Digest manifest;             ///< of the manifest under which it was stored
    std::vector<DiffId> layers;  ///< bottom first
    std::int64_t added_at = 0;
    std::optional<std::int64_t> created_at;
};

struct NameRow {
    std::string name;  ///< fully qualified reference with tag, as registry/reference.h prints it
    Digest image;      ///< ImageRow::id
    std::int64_t set_at = 0;
};

struct ContainerRow {
    std::string id;  ///< 64 hex digits
    std::string name;
    Digest image;
    std::string image_name;      ///< as the user gave it
    std::vector<DiffId> layers;  ///< bottom first: what its view stands on, kept alive by this row
    std::string spec;            ///< JSON, overlay's own (container_spec.h)
    std::string state;           ///< created | running | exited
    std::optional<ProcessIdentity> monitor;  ///< the process that watches a running one
    std::optional<ProcessIdentity> init;     ///< process 1 of a running one, as the host sees it
    int exit_code = 0;
    std::int64_t created_at = 0;
    std::int64_t started_at = 0;
    std::int64_t finished_at = 0;
};

/// One step of a build that need not run again.
struct CacheRow {
    std::string key;              ///< hex sha256 over the key's named parts
    std::string parts_json;       ///< the named parts themselves: why a step missed can be said
    std::optional<DiffId> layer;  ///< none: the step made no layer
    std::int64_t used_at = 0;
};

struct EventRow {
    std::int64_t sequence = 0;
    std::int64_t at = 0;
    std::string type;    ///< image.tag, image.remove, container.create, gc.run, …
    std::string detail;  ///< JSON
};

class Database;

/// Of SQLite, as it says itself: "3.40.1".
std::string database_library_version();

class Catalogue {
  public:
    /// Creates or opens; upgrades nothing silently.
    explicit Catalogue(const std::filesystem::path& file);
    ~Catalogue();
    Catalogue(Catalogue&&) noexcept;

    // ---- reading
    /// Rises with every committed write.
    std::int64_t generation();
    /// All reads in `body` see the same generation.
    void snapshot(const std::function<void()>& body);

    std::optional<LayerRow> layer(const DiffId& id);
    std::vector<LayerRow> layers();
    std::optional<LayerBlobRow> layer_blob(const Digest& blob);
    std::vector<LayerBlobRow> layer_blobs(const DiffId& id);
    std::optional<BlobRow> blob(const Digest& digest);
    std::vector<BlobRow> blobs();
    bool has_object(const ObjectId& id);
    std::optional<std::uint64_t> object_size(const ObjectId& id);

    std::optional<ImageRow> image(const Digest& id);
    std::vector<ImageRow> images();
    std::optional<NameRow> name(const std::string& name);
    std::vector<NameRow> names();
    std::vector<NameRow> names_of(const Digest& image);
    /// Images whose id's hex begins with `hex_prefix`.
    std::vector<ImageRow> images_by_prefix(const std::string& hex_prefix);

    std::vector<ContainerRow> containers();
    std::optional<ContainerRow> container_by_id(const std::string& id);
    std::optional<ContainerRow> container_by_name(const std::string& name);
    std::vector<ContainerRow> containers_by_prefix(const std::string& id_prefix);
    std::uint64_t container_count();

    std::optional<CacheRow> cache(const std::string& key);
    std::vector<CacheRow> cache_rows();
    std::vector<EventRow> events(std::int64_t after_sequence = 0);

    // ---- writing: one SQLite transaction (BEGIN IMMEDIATE), committed durably (synchronous=FULL) when
    // `body` returns, rolled back when it throws. Not to be nested.
    class Write;
    void write(const std::function<void(Write&)>& body);

    /// Closes the database, runs `body`, opens it again: the way to fork(2) a child that goes on and opens
    /// the store itself. SQLite keeps its locks in memory that the child would copy, so no other Catalogue on
    /// the same file may be open in this process meanwhile.
    void while_closed(const std::function<void()>& body);

    /// For this folder's own queries (usage, gc, fsck).
    Database& database() { return *database_; }

  private:
    std::filesystem::path file_;
    std::unique_ptr<Database> database_;
};

/// What can be changed. Only valid inside Catalogue::write.
class Catalogue::Write {
  public:
    void add_blob(const BlobRow& row);
    void add_layer_blob(const LayerBlobRow& row);
    /// Idempotent. Throws Errc::failed unless every layer has a row.
    void add_image(const ImageRow& row);
    void set_name(const std::string& name, const Digest& image);
    bool remove_name(const std::string& name);
    void remove_image(const Digest& id);  ///< and its names

    /// Throws Errc::conflict if the name is taken.
    void add_container(const ContainerRow& row);
    void set_container_state(const ContainerRow& row);  ///< state, processes, exit code, times, by id
    void set_container_spec(const std::string& id, const std::string& spec);
    void rename_container(const std::string& id, const std::string& name);
    void remove_container(const std::string& id);

    void put_cache(const CacheRow& row);
    void touch_cache(const std::string& key);
    void remove_cache(const std::string& key);
    void event(const std::string& type, const std::string& detail_json);

    Database& database() { return database_; }

  private:
    friend class Catalogue;
    friend class Transaction;
    explicit Write(Database& database) : database_(database) {}
    Database& database_;
};

}  // namespace surcoat
