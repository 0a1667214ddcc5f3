// How staged work becomes part of the store. The order is everything:
//
//   1. contents, tocs and blobs are made durable under their temporary names;
//   2. under lock/publish, which gc takes for every removal, they are renamed to their final names, and the
//      directories are made durable. A file without a row is garbage: a crash here leaves only that;
//   3. one catalogue transaction, durable when it returns, names them. From here on they exist.
//
// While lock/publish is held no row of an object or layer can go; rows can be condemned, which step 3 undoes.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "layers/base/error.h"
#include "layers/base/fault.h"
#include "layers/base/file.h"
#include "layers/base/file_lock.h"
#include "layers/store/database.h"
#include "layers/store/store_state.h"
#include "layers/store/transaction_state.h"

namespace surcoat {
namespace {

/// From this many files or directories on, one syncfs(2) takes their place. Every fsync makes the device
/// flush its cache: two thousand small files took 9 s on ext4 (3.6 ms each) where one syncfs took 25 ms, and
/// btrfs writes a tree for each. Few are synced one by one, for syncfs waits for everybody else's writes,
/// too.
constexpr std::size_t kSyncTogether = 16;

void sync_filesystem(int fd) {
    if (::syncfs(fd) != 0) throw_errno("make the store durable");
}

void sync_directory(int parent, const std::string& name) {
    fsync_fd(open_file_at(parent, name, O_RDONLY | O_DIRECTORY).get());
}

}  // namespace

void Transaction::State::make_durable() {
    const bool full = store.options().durability == Durability::full;
    fault_point("sync.begin");
    for (const Layer& layer : layers) {
        for (const ObjectId& id : layer.objects) objects.at(id).needed = true;
    }
    std::vector<ObjectId> staged;
    for (auto it = objects.begin(); it != objects.end();) {
        if (it->second.staged && !it->second.needed) {
            ::unlinkat(objects_directory.get(), staged_name(it->first).c_str(), 0);
            it = objects.erase(it);
            continue;
        }
        if (it->second.staged) staged.push_back(it->first);
        ++it;
    }
    std::sort(staged.begin(), staged.end());

    const bool together = staged.size() >= kSyncTogether;
    if (full && together) sync_filesystem(objects_directory.get());
    fault_point("sync.contents");
    for (const ObjectId& id : staged) {
        const UniqueFd fd = open_file_at(objects_directory.get(), staged_name(id), O_RDONLY | O_NOFOLLOW);
        if (full && !together && ::fdatasync(fd.get()) != 0)
            throw_errno(fmt::format("make object {} durable", id.hex()));
        const struct stat st = stat_fd(fd.get());
        if ((st.st_mode & 07777) != 0444 && ::fchmod(fd.get(), 0444) != 0)
            throw_errno("set an object's mode");  // the umask
        objects.at(id).allocated = static_cast<std::uint64_t>(st.st_blocks) * 512;
    }
    // A few files that everything hangs on: synced in every mode.
    for (const Layer& layer : layers) fsync_fd(open_file(layer.file, O_RDONLY).get());
    for (const Blob& blob : blobs) fsync_fd(open_file(blob.file, O_RDONLY).get());
    if (full) {
        // Found contents that a transaction in mode `fast` wrote: what we publish is durable, so they must
        // be.
        std::vector<std::pair<ObjectId, std::string>> unsynced;
        {
            auto query = store.catalogue().database().prepare(
                "SELECT id, unsynced FROM objects WHERE unsynced IS NOT NULL");
            while (query.step()) unsynced.emplace_back(query.object(0), query.text(1));
        }
        for (const auto& [id, boot] : unsynced) {
            const auto found = objects.find(id);
            if (found == objects.end() || found->second.staged || !found->second.needed) continue;
            if (boot != boot_id()) verify_object(store.object_path(id), id);
            if (::fdatasync(store.open_object(id).get()) != 0)
                throw_errno(fmt::format("make object {} durable", id.hex()));
            sync_directory(objects_directory.get(), object_name(id).substr(0, 2));
        }
    }
    fault_point("sync.end");
}

namespace {

/// What lies under its final name without a row, until the catalogue says so: removed again when it fails.
class Unnamed {
  public:
    ~Unnamed() {
        for (const std::filesystem::path& file : files_) {
            std::error_code ignored;  // gc finds it
            std::filesystem::remove_all(file, ignored);
        }
    }
    void add(std::filesystem::path file) { files_.push_back(std::move(file)); }
    void named() { files_.clear(); }

  private:
    std::vector<std::filesystem::path> files_;
};

}  // namespace

void Transaction::State::publish(const std::function<void(Catalogue::Write&)>& body) {
    const bool full = store.options().durability == Durability::full;
    Database& database = store.catalogue().database();
    const std::filesystem::path objects_path = store.objects_directory();
    const FileLock lock = FileLock::acquire(store.path("lock/publish"), FileLock::Mode::exclusive);
    fault_point("publish.locked");
    Unnamed unnamed;

    // ---- objects
    std::vector<ObjectId> wanted;
    for (const auto& [id, object] : objects) {
        if (object.needed) wanted.push_back(id);
    }
    std::sort(wanted.begin(), wanted.end());  // rows that are near in the index, files that are near on disk
    std::set<std::string> buckets;
    std::vector<ObjectId> new_rows;
    for (const ObjectId& id : wanted) {
        const Object& object = objects.at(id);
        if (!object.staged) continue;
        const std::string name = object_name(id);
        bool row = false;
        bool unsynced = false;
        {
            auto query = database.prepare("SELECT unsynced IS NOT NULL FROM objects WHERE id = ?");
            query.bind(id);
            if (query.step()) {
                row = true;
                unsynced = query.integer(0) != 0;
            }
        }
        if (row && !unsynced) {
            // Somebody published it while we wrote ours, or gc has condemned it and not yet removed it. Ours
            // goes, unless theirs is not there: then this mends the store.
            struct stat st {};
            if (::fstatat(objects_directory.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                static_cast<std::uint64_t>(st.st_size) == object.size) {
                ::unlinkat(objects_directory.get(), staged_name(id).c_str(), 0);
                continue;
            }
        }
        if (::renameat(objects_directory.get(), staged_name(id).c_str(), objects_directory.get(),
                       name.c_str()) != 0) {
            throw_errno(fmt::format("publish object {}", id.hex()));
        }
        if (!row) {
            unnamed.add(objects_path / name);
            new_rows.push_back(id);
        }
        buckets.insert(name.substr(0, 2));
        if (buckets.size() == 1) fault_point("publish.renamed_one");
    }
    if (full && buckets.size() >= kSyncTogether) {
        sync_filesystem(objects_directory.get());
    } else if (full && !buckets.empty()) {
        for (const std::string& bucket : buckets) sync_directory(objects_directory.get(), bucket);
        fsync_fd(objects_directory.get());  // the buckets' own names
    }
    fault_point("publish.renamed_objects");

    // ---- layers and blobs
    std::vector<const Layer*> new_layers;
    for (const Layer& layer : layers) {
        if (store.catalogue().layer(layer.row.diff_id)) continue;
        const std::filesystem::path directory =
            store.path("layers") / std::string(layer.row.diff_id.digest.hex());
        make_directories(directory);
        unnamed.add(directory);
        rename_file(layer.file, directory / "toc");
        if (full) fsync_directory(directory);
        new_layers.push_back(&layer);
    }
    if (full && !new_layers.empty()) fsync_directory(store.path("layers"));
    fault_point("publish.renamed_layers");
    std::set<std::filesystem::path> blob_directories;
    for (const Blob& blob : blobs) {
        const std::filesystem::path directory =
            store.path("blobs") / std::string(blob.row.digest.algorithm());
        const std::filesystem::path file = directory / std::string(blob.row.digest.hex());
        const bool row = store.catalogue().blob(blob.row.digest).has_value();
        if (row && lstat_path(file)) continue;
        make_directories(directory);
        if (!row) unnamed.add(file);
        rename_file(blob.file, file);
        blob_directories.insert(directory);
    }
    for (const std::filesystem::path& directory : blob_directories) fsync_directory(directory);
    fault_point("publish.before_commit");

    // ---- the catalogue
    store.catalogue().write([&](Catalogue::Write& write) {
        const std::optional<std::string> mark = full ? std::nullopt : std::optional(boot_id());
        for (const ObjectId& id : new_rows) {
            const Object& object = objects.at(id);
            database.run("INSERT INTO objects(id, size, allocated, unsynced) VALUES(?, ?, ?, ?)", id,
                         object.size, object.allocated, mark);
        }
        std::unordered_map<ObjectId, std::int64_t> numbers;
        for (const ObjectId& id : wanted) {
            auto query = database.prepare(
                "SELECT number, condemned IS NOT NULL OR unsynced IS NOT NULL FROM objects WHERE id = ?");
            query.bind(id);
            if (!query.step()) {
                throw Error(Errc::failed,
                            fmt::format("object {} went away while transaction '{}' ran", id.hex(), purpose))
                    .hint("run `surcoat fsck`, then try again");
            }
            numbers.emplace(id, query.integer(0));
            if (query.integer(1) == 0) continue;
            database.run(full ? "UPDATE objects SET condemned = NULL, unsynced = NULL WHERE number = ?"
                              : "UPDATE objects SET condemned = NULL WHERE number = ?",
                         query.integer(0));
        }
        for (const Layer* layer : new_layers) {
            const LayerRow& row = layer->row;
            database.run(
                "INSERT INTO layers(diff_id, archive_bytes, content_bytes, entries, toc_bytes, added_at, "
                "unsynced_boot) "
                "VALUES(?, ?, ?, ?, ?, ?, ?)",
                row.diff_id, row.archive_bytes, row.content_bytes, row.entries, row.toc_bytes, row.added_at,
                mark);
            const std::int64_t layer_number = database.last_id();
            for (const ObjectId& id : layer->objects) {
                database.run("INSERT INTO layer_objects(layer, object) VALUES(?, ?)", layer_number,
                             numbers.at(id));
            }
        }
        for (const Blob& blob : blobs) write.add_blob(blob.row);
        for (const LayerBlobRow& row : layer_blobs) write.add_layer_blob(row);
        if (body) body(write);
        database.run("DELETE FROM transactions WHERE number = ?", number);
        fault_point("publish.inside_commit");
    });
    unnamed.named();
    over = true;
    fault_point("publish.after_commit");
    if (has_directory) remove_tree(store.path("tx") / std::to_string(number));
}

}  // namespace surcoat
