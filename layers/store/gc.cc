// Three moves, each of which can be cut off anywhere:
//
//   1. one catalogue transaction, under lock/publish: rows that nothing reaches go, objects that no layer
//      refers to any more are condemned with the generation in which that was seen;
//   2. quanta: under lock/publish a few hundred condemned rows go, then their files. An object condemned in
//      generation g may go once every running transaction began after g: only an older one can have found it
//      present. A younger one did not find it (a condemned object counts as absent) and brings its own;
//   3. files and directories for which there is no row.
//
// A file always goes after its row: what a kill leaves behind is a file without a row, and the next gc's.
#include "layers/store/gc.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <optional>
#include <set>
#include <thread>

#include "layers/base/error.h"
#include "layers/base/fault.h"
#include "layers/base/file.h"
#include "layers/base/file_lock.h"
#include "layers/store/database.h"
#include "layers/store/gc_plan.h"
#include "layers/store/store_state.h"

namespace surcoat {
namespace {

constexpr int kQuantum = 512;

class Collector {
  public:
    Collector(Store& store, const GcOptions& options)
        : store_(store),
          options_(options),
          container_locks_(store.path("lock/containers")),
          view_locks_(store.path("lock/views")) {}

    GcResult rehearse() {
        store_.catalogue().snapshot([&] {
            plan_ = plan_garbage(store_, options_, store_.catalogue().generation() + 1);
            remember_going(store_.catalogue().database());
            count_plan();
            result_.objects = plan_.objects;
            result_.bytes += plan_.object_bytes;
            for (const Stray& stray : find_strays(store_, plan_, nullptr)) {
                if (is_free(stray)) count(stray);
            }
        });
        return std::move(result_);
    }

    GcResult run() {
        const FileLock alone = FileLock::acquire(store_.path("lock/gc"), FileLock::Mode::exclusive);
        // The file system's own clock, to compare views' times with.
        ::futimens(alone.fd(), nullptr);
        const struct timespec begun = stat_fd(alone.fd()).st_mtim;
        fault_point("gc.begin");
        mark();
        while (sweep_objects()) {
            std::this_thread::sleep_for(
                std::chrono::milliseconds(1));  // whoever waits for lock/publish goes first
        }
        for (const Stray& stray : find_strays(store_, plan_, &begun)) {
            try {
                remove(stray);
            } catch (const Error& error) {  // something is mounted there, say: the others can still go
                if (error.code() == Errc::failed) throw;
                result_.kept.push_back({stray.path.filename().string(), stray.bytes, error.message()});
            }
        }
        fault_point("gc.removed_strays");
        finish();
        return std::move(result_);
    }

  private:
    void count_plan() {
        result_.images = plan_.images.size();
        result_.layers = plan_.layers.size();
        result_.blobs = plan_.blobs.size();
        result_.cache_steps = plan_.cache_keys.size();
        result_.kept = plan_.kept;
    }

    void count(const Stray& stray) {
        result_.bytes += stray.bytes;
        switch (stray.kind) {
            case Stray::Kind::view:
                ++result_.views;
                break;
            case Stray::Kind::layer:
                if (!going_layers_.contains(stray.name)) ++result_.leftovers;
                break;
            case Stray::Kind::blob:
                if (!going_blobs_.contains(stray.name)) ++result_.leftovers;
                break;
            default:
                ++result_.leftovers;
        }
    }

    // ---- 1
    void mark() {
        const FileLock publish = FileLock::acquire(store_.path("lock/publish"), FileLock::Mode::exclusive);
        store_.catalogue().write([&](Catalogue::Write& write) {
            Database& database = write.database();
            const std::int64_t generation = store_.catalogue().generation();
            plan_ = plan_garbage(store_, options_, generation);
            remember_going(database);
            count_plan();
            for (const std::int64_t lease : plan_.dead_leases)
                database.run("DELETE FROM leases WHERE number = ?", lease);
            for (const std::int64_t dead : plan_.dead_transactions)
                database.run("DELETE FROM transactions WHERE number = ?", dead);
            for (const std::string& key : plan_.cache_keys)
                database.run("DELETE FROM cache WHERE key = ?", key);
            for (const std::int64_t image : plan_.images)
                database.run("DELETE FROM images WHERE number = ?", image);
            for (const std::int64_t layer : plan_.layers)
                database.run("DELETE FROM layers WHERE number = ?", layer);
            for (const std::string& blob : plan_.blobs)
                database.run("DELETE FROM blobs WHERE digest = ?", blob);
            if (!plan_.layers.empty()) database.run("DELETE FROM chain_sizes");
            database.run(
                "UPDATE objects SET condemned = ? WHERE condemned IS NULL AND NOT EXISTS("
                "SELECT 1 FROM layer_objects WHERE object = objects.number)",
                generation);
            fault_point("gc.inside_mark");
        });
        fault_point("gc.marked");
    }

    /// What count() needs to tell a removed layer's directory from a leftover. The dry run asks before, too.
    void remember_going(Database& database) {
        for (const std::int64_t layer : plan_.layers) {
            auto q = database.prepare("SELECT diff_id FROM layers WHERE number = ?");
            if (q.bind(layer).step()) going_layers_.insert(std::string(q.digest(0).hex()));
        }
        going_blobs_.insert(plan_.blobs.begin(), plan_.blobs.end());
    }

    // ---- 2
    /// One quantum; false when nothing is left to do.
    bool sweep_objects() {
        struct Doomed {
            std::int64_t number;
            ObjectId id;
            std::uint64_t allocated;
        };
        std::vector<Doomed> doomed;
        const FileLock publish = FileLock::acquire(store_.path("lock/publish"), FileLock::Mode::exclusive);
        store_.catalogue().write([&](Catalogue::Write& write) {
            Database& database = write.database();
            {
                auto q = database.prepare(
                    "SELECT number, id, allocated FROM objects WHERE condemned IS NOT NULL AND condemned < ? "
                    "AND NOT EXISTS("
                    "SELECT 1 FROM layer_objects WHERE object = objects.number) LIMIT ?");
                q.bind(oldest_running_generation(store_.catalogue()), kQuantum);
                while (q.step()) doomed.push_back({q.integer(0), q.object(1), q.size(2)});
            }
            for (const Doomed& object : doomed)
                database.run("DELETE FROM objects WHERE number = ?", object.number);
            fault_point("gc.inside_sweep");
        });
        fault_point("gc.before_unlink");
        for (const Doomed& object : doomed) {
            remove_file(store_.object_path(object.id));
            result_.bytes += object.allocated;
            ++result_.objects;
            fault_point("gc.unlinked_one");
        }
        return doomed.size() == static_cast<std::size_t>(kQuantum);
    }

    // ---- 3
    /// Nobody is making or removing it just now.
    bool is_free(const Stray& stray) {
        const bool buried =
            stray.kind == Stray::Kind::transaction && stray.name.compare(0, 8, "removed-") == 0;
        if (stray.kind != Stray::Kind::container && stray.kind != Stray::Kind::view && !buried) return true;
        ByteLocks& locks = stray.kind == Stray::Kind::view ? view_locks_ : container_locks_;
        const std::string name = lock_name(stray);
        if (!locks.try_acquire(name)) return false;
        locks.release(name);
        return true;
    }

    static std::string lock_name(const Stray& stray) {
        if (stray.kind == Stray::Kind::transaction) return stray.name.substr(8) + ".removed";  // removed-<id>
        if (stray.kind == Stray::Kind::container) return stray.name;
        const bool unfinished =
            stray.name.size() > 4 && stray.name.compare(stray.name.size() - 4, 4, ".new") == 0;
        return unfinished ? stray.name.substr(0, stray.name.size() - 4) : stray.name;
    }

    void remove(const Stray& stray) {
        switch (stray.kind) {
            case Stray::Kind::container:
            case Stray::Kind::view:
                remove_locked(stray);
                return;
            case Stray::Kind::transaction:
                if (stray.name.compare(0, 8, "removed-") == 0) {
                    remove_locked(stray);
                    return;
                }
                break;
            default:
                break;
        }
        // It may have got its row since it was looked at: rows come under this lock, before which files do.
        const FileLock publish = FileLock::acquire(store_.path("lock/publish"), FileLock::Mode::exclusive);
        if (has_row(stray)) return;
        count(stray);
        remove_tree(stray.path);
        fault_point("gc.removed_stray");
    }

    void remove_locked(const Stray& stray) {
        ByteLocks& locks = stray.kind == Stray::Kind::view ? view_locks_ : container_locks_;
        const std::string name = lock_name(stray);
        if (!locks.try_acquire(name)) {
            result_.kept.push_back({fmt::format("{}", stray.path.filename().string()), stray.bytes,
                                    "another process is making or removing it"});
            return;
        }
        if (!has_row(stray)) {
            // A directory that lost its row just now may be on its way out already.
            std::optional<ByteLock> removing;
            if (stray.kind == Stray::Kind::container) removing.emplace(locks, stray.name + ".removed");
            if (lstat_path(stray.path)) count(stray);
            if (stray.kind == Stray::Kind::view && lock_name(stray) == stray.name &&
                stray.path.extension() == ".d") {
                // A directory cannot go at once: first it loses its name, so that nobody mounts half of it.
                const std::filesystem::path going = stray.path.string() + ".new";
                remove_tree(going);
                rename_file(stray.path, going);
                remove_tree(going);
            } else {
                remove_tree(stray.path);
            }
        }
        locks.release(name);
        fault_point("gc.removed_stray");
    }

    bool has_row(const Stray& stray) {
        Database& database = store_.catalogue().database();
        switch (stray.kind) {
            case Stray::Kind::layer:
                return database
                    .integer("SELECT 1 FROM layers WHERE substr(diff_id, instr(diff_id, ':') + 1) = ?",
                             stray.name)
                    .has_value();
            case Stray::Kind::blob:
                return database.integer("SELECT 1 FROM blobs WHERE digest = ?", stray.name).has_value();
            case Stray::Kind::object:
                return stray.name.size() == 64 &&
                       stray.name.find_first_not_of("0123456789abcdef") == std::string::npos &&
                       database.integer("SELECT 1 FROM objects WHERE id = ?", ObjectId::parse_hex(stray.name))
                           .has_value();
            case Stray::Kind::staged:
            case Stray::Kind::transaction:
                return database
                    .integer("SELECT 1 FROM transactions WHERE number = CAST(? AS INTEGER)", stray.name)
                    .has_value();
            case Stray::Kind::container:
                return database.integer("SELECT 1 FROM containers WHERE id = ?", stray.name).has_value();
            case Stray::Kind::view:
                return false;
        }
        return false;
    }

    void finish() {
        if (result_.bytes + result_.images + result_.cache_steps == 0) return;
        store_.catalogue().write([&](Catalogue::Write& write) {
            write.event(
                "gc.run",
                fmt::format(
                    R"({{"images":{},"layers":{},"objects":{},"blobs":{},"views":{},"cache_steps":{},"leftovers":{},"bytes":{}}})",
                    result_.images, result_.layers, result_.objects, result_.blobs, result_.views,
                    result_.cache_steps, result_.leftovers, result_.bytes));
        });
        Database& database = store_.catalogue().database();
        while (database.integer("PRAGMA freelist_count").value_or(0) > 0) {
            const std::int64_t before = database.integer("PRAGMA freelist_count").value_or(0);
            database.script("PRAGMA incremental_vacuum(256)");
            if (database.integer("PRAGMA freelist_count").value_or(0) >= before) break;
        }
        database.checkpoint();
    }

    Store& store_;
    GcOptions options_;
    ByteLocks container_locks_;
    ByteLocks view_locks_;
    GcPlan plan_;
    std::set<std::string> going_layers_;
    std::set<std::string> going_blobs_;
    GcResult result_;
};

}  // namespace

GcResult collect_garbage(Store& store, const GcOptions& options) {
    Collector collector(store, options);
    return options.dry_run ? collector.rehearse() : collector.run();
}

}  // namespace surcoat
