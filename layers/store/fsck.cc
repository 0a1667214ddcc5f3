#include "layers/store/fsck.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <limits>
#include <set>
#include <unordered_map>

#include "layers/base/error.h"
#include "layers/base/file.h"
#include "layers/erofs.h"
#include "layers/store/database.h"
#include "layers/store/gc_plan.h"
#include "layers/store/store_state.h"

namespace surcoat {
namespace {

constexpr const char* kBringAgain =
    "remove what uses it with `surcoat rmi`, run `surcoat gc`, then import, pull or build it again";

class Nowhere final : public ByteSink {
  public:
    void write(ByteSpan bytes) override {
        hasher_.update(bytes);
        size += bytes.size();
    }
    std::string hex() { return hasher_.finish_hex(); }
    std::uint64_t size = 0;

  private:
    Hasher hasher_;
};

class Checker {
  public:
    Checker(Store& store, const FsckOptions& options)
        : store_(store),
          options_(options),
          database_(store.catalogue().database()),
          progress_(options.progress != nullptr ? *options.progress : no_progress()) {}

    std::vector<Finding> check() {
        store_.catalogue().snapshot([&] {
            catalogue();
            objects();
            layers();
            blobs();
            images();
            containers();
            if (options_.deep) views();
            garbage();
        });
        return std::move(findings_);
    }

  private:
    void error(std::string what, std::string problem, std::string remedy) {
        findings_.push_back(
            {Finding::Severity::error, std::move(what), std::move(problem), std::move(remedy)});
    }
    void leftover(std::string what, std::string problem) {
        findings_.push_back({Finding::Severity::garbage, std::move(what), std::move(problem), "surcoat gc"});
    }

    void catalogue() {
        auto check = database_.prepare(options_.deep ? "PRAGMA integrity_check" : "PRAGMA quick_check");
        while (check.step()) {
            if (check.text(0) != "ok")
                error("catalogue", check.text(0), "restore store.sqlite from a backup, or begin a new store");
        }
        auto keys = database_.prepare("PRAGMA foreign_key_check");
        while (keys.step()) {
            error("catalogue",
                  fmt::format("a row of {} refers to a row of {} that does not exist", keys.text(0),
                              keys.text(2)),
                  "restore store.sqlite from a backup, or begin a new store");
        }
    }

    /// A file that a row stands for. False, with a finding, if it is not as it should be.
    bool file(const std::filesystem::path& path, std::uint64_t size, const std::string& what,
              const std::string& remedy) {
        const auto st = lstat_path(path);
        if (!st) {
            error(what, fmt::format("'{}' is missing", path.string()), remedy);
        } else if (!S_ISREG(st->st_mode)) {
            error(what, fmt::format("'{}' is not a regular file", path.string()), remedy);
        } else if (static_cast<std::uint64_t>(st->st_size) != size) {
            error(what, fmt::format("'{}' has {} bytes, not {}", path.string(), st->st_size, size), remedy);
        } else {
            return true;
        }
        return false;
    }

    /// Images that a damaged object or layer harms.
    std::string users_of_object(std::int64_t number) {
        std::string text;
        auto q = database_.prepare(
            "SELECT DISTINCT coalesce(n.name, i.id) FROM layer_objects l JOIN image_layers il ON il.layer = "
            "l.layer "
            "JOIN images i ON i.number = il.image LEFT JOIN names n ON n.image = i.number WHERE l.object = ? "
            "LIMIT 4");
        for (q.bind(number); q.step();) text += (text.empty() ? "; used by " : ", ") + q.text(0);
        return text;
    }

    void objects() {
        const std::int64_t count = database_.integer("SELECT count(*) FROM objects").value_or(0);
        std::uint64_t done = 0;
        auto q = database_.prepare("SELECT number, id, size FROM objects ORDER BY id");
        while (q.step()) {
            const ObjectId id = q.object(1);
            const std::string what = fmt::format("object {}", id.hex());
            const std::size_t before = findings_.size();
            if (file(store_.object_path(id), q.size(2), what, kBringAgain) && options_.deep) {
                try {
                    verify_object(store_.object_path(id), id);
                } catch (const Error& e) { error(what, e.message(), kBringAgain); }
            }
            if (findings_.size() > before) {
                findings_.back().problem += users_of_object(q.integer(0));
                damaged_.insert(id);
            }
            if (++done % 1024 == 0)
                progress_.bytes("checking objects", done, static_cast<std::uint64_t>(count));
        }
    }

    void layers() {
        for (const LayerRow& row : store_.catalogue().layers()) {
            const std::string what = fmt::format("layer {}", row.diff_id.str());
            const std::filesystem::path path =
                store_.path("layers") / std::string(row.diff_id.digest.hex()) / "toc";
            if (!file(path, row.toc_bytes, what, kBringAgain) || !options_.deep) continue;
            progress_.note("checking " + what);
            try {
                layer(row, path, what);
            } catch (const Error& e) { error(what, e.message(), kBringAgain); }
        }
    }

    void layer(const LayerRow& row, const std::filesystem::path& path, const std::string& what) {
        const std::string bytes = read_file(path);
        const Toc toc = read_toc(as_bytes(bytes), what);
        std::set<ObjectId> named;
        for (const TocRecord& record : toc.records) {
            if (record.entry.kind == Entry::Kind::add && record.entry.inode.object)
                named.insert(*record.entry.inode.object);
        }
        std::set<ObjectId> rows;
        auto q = database_.prepare(
            "SELECT o.id FROM layer_objects l JOIN objects o ON o.number = l.object JOIN layers y ON "
            "y.number = l.layer "
            "WHERE y.diff_id = ?");
        for (q.bind(row.diff_id); q.step();) rows.insert(q.object(0));
        if (named != rows) {
            error(what, fmt::format("its toc names {} objects, the catalogue {}", named.size(), rows.size()),
                  kBringAgain);
            return;
        }
        if (std::any_of(named.begin(), named.end(),
                        [&](const ObjectId& id) { return damaged_.contains(id); })) {
            return;  // said already, for the object
        }
        Nowhere archive;
        const auto skeleton = read_skeleton(as_bytes(bytes), what);
        regenerate_archive(
            toc, *skeleton, [&](const ObjectId& id) { return store_.open_object(id); }, archive);
        if (const std::string hex = archive.hex(); hex != row.diff_id.digest.hex()) {
            error(what,
                  fmt::format("its archive, made again, has {} bytes and the digest sha256:{}", archive.size,
                              hex),
                  kBringAgain);
        }
    }

    void blobs() {
        for (const BlobRow& row : store_.catalogue().blobs()) {
            const std::string what = fmt::format("blob {}", row.digest.str());
            const std::filesystem::path path =
                store_.path("blobs") / std::string(row.digest.algorithm()) / std::string(row.digest.hex());
            if (!file(path, row.size, what, kBringAgain) || !options_.deep) continue;
            Hasher hasher(row.digest.algorithm() == "sha512" ? Hasher::Algorithm::sha512
                                                             : Hasher::Algorithm::sha256);
            const UniqueFd fd = open_file(path, O_RDONLY);
            std::vector<std::byte> buffer(1 << 18);
            for (std::size_t n; (n = FdSource(fd.get()).read(buffer)) > 0;)
                hasher.update(ByteSpan(buffer).first(n));
            if (const std::string found = hasher.finish_hex(); found != row.digest.hex()) {
                error(what, fmt::format("its bytes have the digest {}:{}", row.digest.algorithm(), found),
                      kBringAgain);
            }
        }
    }

    void images() {
        for (const ImageRow& image : store_.catalogue().images()) {
            for (const Digest& digest : {image.id, image.manifest}) {
                if (store_.catalogue().blob(digest)) continue;
                error(fmt::format("image {}", image.id.str()),
                      fmt::format("its {} {} is not in the store",
                                  digest == image.id ? "configuration" : "manifest", digest.str()),
                      kBringAgain);
            }
        }
    }

    void containers() {
        for (const ContainerRow& row : store_.catalogue().containers()) {
            const std::filesystem::path directory = store_.container_directory(row.id);
            for (const char* part : {"upper", "work"}) {
                const auto st = lstat_path(directory / part);
                if (st && S_ISDIR(st->st_mode)) continue;
                error(fmt::format("container {}", row.name),
                      fmt::format("its directory '{}' is missing", (directory / part).string()),
                      fmt::format("surcoat rm {}", row.name));
                break;
            }
        }
    }

    /// A view is what its chain gives, byte for byte: the writer is deterministic.
    void views() {
        std::set<std::vector<DiffId>> chains;
        for (const ImageRow& row : store_.catalogue().images()) chains.insert(row.layers);
        for (const ContainerRow& row : store_.catalogue().containers()) chains.insert(row.layers);
        for (const std::vector<DiffId>& chain : chains) {
            const std::string key = Store::view_key(chain);
            const std::filesystem::path path = store_.path("views") / (key + ".erofs");
            if (!lstat_path(path)) continue;
            const std::string what = fmt::format("view {}", key);
            try {
                Nowhere wanted;
                std::array<std::byte, 16> uuid{};
                const ObjectId hash = ObjectId::parse_hex(key);
                std::copy_n(hash.hash.begin(), uuid.size(), uuid.begin());
                write_erofs(wanted, *store_.tree(chain), uuid);
                Nowhere found;
                found.write(as_bytes(read_file(path)));
                if (found.size != wanted.size || found.hex() != wanted.hex()) {
                    error(what, "it does not show what its layers hold",
                          fmt::format("rm '{}': it is a cache and is made again", path.string()));
                }
            } catch (const Error& e) { error(what, e.message(), "see what is said of its layers"); }
        }
    }

    void garbage() {
        // The plan of a gc that keeps whatever has a row: what it would still find is what no row stands for.
        GcPlan plan;
        for (const LayerRow& row : store_.catalogue().layers())
            plan.layer_names.insert(std::string(row.diff_id.digest.hex()));
        for (const BlobRow& row : store_.catalogue().blobs()) plan.blob_names.insert(row.digest.str());
        for (const ContainerRow& row : store_.catalogue().containers()) plan.container_ids.insert(row.id);
        plan.oldest_job = std::numeric_limits<std::int64_t>::min();  // views are caches: none is in the way
        dead("transaction", "SELECT purpose, pid, start_ticks, boot_id, number FROM transactions",
             &plan.live_transactions);
        dead("lease", "SELECT purpose, pid, start_ticks, boot_id, number FROM leases", nullptr);
        ByteLocks container_locks(store_.path("lock/containers"));
        ByteLocks view_locks(store_.path("lock/views"));
        for (const Stray& stray : find_strays(store_, plan, nullptr)) {
            if (stray.kind == Stray::Kind::container && !container_locks.try_acquire(stray.name))
                continue;  // being made
            if (stray.kind == Stray::Kind::view &&
                !view_locks.try_acquire(stray.name.substr(0, stray.name.rfind('.'))))
                continue;
            leftover(fmt::format("file {}", stray.path.lexically_relative(store_.root()).string()),
                     fmt::format("nothing refers to it ({} bytes)", stray.bytes));
        }
    }

    void dead(const char* kind, const char* sql, std::set<std::int64_t>* live) {
        auto q = database_.prepare(sql);
        while (q.step()) {
            const ProcessIdentity process{static_cast<pid_t>(q.integer(1)), q.size(2), q.text(3)};
            if (process.alive()) {
                if (live != nullptr) live->insert(q.integer(4));
            } else {
                leftover(fmt::format("{} {}", kind, q.integer(4)),
                         fmt::format("its process {} is gone: {}", process.pid, q.text(0)));
            }
        }
    }

    Store& store_;
    FsckOptions options_;
    Database& database_;
    Progress& progress_;
    std::set<ObjectId> damaged_;
    std::vector<Finding> findings_;
};

}  // namespace

std::vector<Finding> check_store(Store& store, const FsckOptions& options) {
    return Checker(store, options).check();
}

}  // namespace surcoat
