#include "layers/store/gc_plan.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>

#include "layers/base/process.h"
#include "layers/store/database.h"
#include "layers/store/usage.h"

namespace surcoat {
namespace {

struct Holder {
    std::int64_t number = 0;
    std::string purpose;
    ProcessIdentity process;
    std::int64_t generation = 0;
    std::int64_t started_at = 0;
};

std::vector<Holder> holders(Database& database, const char* sql) {
    std::vector<Holder> rows;
    auto query = database.prepare(sql);
    while (query.step()) {
        rows.push_back({query.integer(0), query.text(1),
                        ProcessIdentity{static_cast<pid_t>(query.integer(2)), query.size(3), query.text(4)},
                        query.integer(5), query.integer(6)});
    }
    return rows;
}

std::vector<Holder> transactions(Database& database) {
    return holders(
        database,
        "SELECT number, purpose, pid, start_ticks, boot_id, generation, started_at FROM transactions");
}

/// Everything that refers to layers, read once.
struct Facts {
    struct ImageFact {
        std::int64_t number = 0;
        std::string id;
        std::string manifest;
        std::vector<std::int64_t> layers;
        bool named = false;
    };
    std::map<std::int64_t, ImageFact> images;
    std::map<std::int64_t, std::string> layers;  ///< number → DiffId
    struct ContainerFact {
        std::string id;
        std::string name;
        std::int64_t image = 0;
        std::vector<std::int64_t> layers;
    };
    std::map<std::int64_t, ContainerFact> containers;

    explicit Facts(Database& database) {
        for (auto q = database.prepare("SELECT number, diff_id FROM layers"); q.step();)
            layers.emplace(q.integer(0), q.text(1));
        for (auto q = database.prepare("SELECT i.number, i.id, i.manifest, EXISTS(SELECT 1 FROM names WHERE "
                                       "image = i.number) FROM images i");
             q.step();) {
            images.emplace(q.integer(0),
                           ImageFact{q.integer(0), q.text(1), q.text(2), {}, q.integer(3) != 0});
        }
        for (auto q = database.prepare("SELECT image, layer FROM image_layers ORDER BY image, position");
             q.step();) {
            images.at(q.integer(0)).layers.push_back(q.integer(1));
        }
        for (auto q = database.prepare("SELECT number, id, name, image FROM containers"); q.step();) {
            containers.emplace(q.integer(0), ContainerFact{q.text(1), q.text(2), q.integer(3), {}});
        }
        for (auto q = database.prepare(
                 "SELECT container, layer FROM container_layers ORDER BY container, position");
             q.step();) {
            containers.at(q.integer(0)).layers.push_back(q.integer(1));
        }
    }

    std::string view_key(const std::vector<std::int64_t>& chain) const {
        std::vector<DiffId> ids;
        for (const std::int64_t layer : chain) ids.push_back(DiffId{Digest::parse(layers.at(layer))});
        return Store::view_key(ids);
    }
};

/// Allocated bytes of the objects of `of` that none of the firmly kept layers refers to.
std::uint64_t bytes_held_only_by(Database& database, const std::vector<std::int64_t>& of) {
    std::unordered_set<std::int64_t> counted;
    std::uint64_t bytes = 0;
    for (const std::int64_t layer : of) {
        auto query = database.prepare(
            "SELECT o.number, o.allocated FROM layer_objects l JOIN objects o ON o.number = l.object WHERE "
            "l.layer = ? AND NOT EXISTS("
            "SELECT 1 FROM layer_objects x JOIN temp.kept_layers k ON k.number = x.layer WHERE x.object = "
            "o.number AND k.firm)");
        query.bind(layer);
        while (query.step()) {
            if (counted.insert(query.integer(0)).second) bytes += query.size(1);
        }
    }
    return bytes;
}

}  // namespace

std::int64_t oldest_running_generation(Catalogue& catalogue) {
    std::int64_t oldest = std::numeric_limits<std::int64_t>::max();
    for (const Holder& row : transactions(catalogue.database())) {
        if (row.process.alive()) oldest = std::min(oldest, row.generation);
    }
    return oldest;
}

GcPlan plan_garbage(Store& store, const GcOptions& options, std::int64_t generation) {
    Database& database = store.catalogue().database();
    GcPlan plan;
    const Facts facts(database);

    // ---- who is running
    std::int64_t oldest_generation = std::numeric_limits<std::int64_t>::max();
    std::vector<Holder> live_transactions;
    for (Holder& row : transactions(database)) {
        if (!row.process.alive()) {
            plan.dead_transactions.push_back(row.number);
            continue;
        }
        plan.live_transactions.insert(row.number);
        plan.oldest_job = std::min(plan.oldest_job, row.started_at);
        oldest_generation = std::min(oldest_generation, row.generation);
        live_transactions.push_back(std::move(row));
    }
    std::vector<Holder> leases;
    for (Holder& row :
         holders(database, "SELECT number, purpose, pid, start_ticks, boot_id, 0, started_at FROM leases")) {
        if (!row.process.alive()) {
            plan.dead_leases.push_back(row.number);
            continue;
        }
        plan.oldest_job = std::min(plan.oldest_job, row.started_at);
        leases.push_back(std::move(row));
    }
    std::map<std::int64_t, std::vector<std::int64_t>> lease_layers;
    std::map<std::string, const Holder*> lease_blobs;
    for (const Holder& lease : leases) {
        auto held = database.prepare("SELECT layer FROM lease_layers WHERE lease = ?");
        for (held.bind(lease.number); held.step();) lease_layers[lease.number].push_back(held.integer(0));
        auto blobs = database.prepare("SELECT digest FROM lease_blobs WHERE lease = ?");
        for (blobs.bind(lease.number); blobs.step();) lease_blobs.emplace(blobs.text(0), &lease);
    }

    // ---- images
    std::map<std::int64_t, std::string> image_containers;
    for (const auto& [number, container] : facts.containers) {
        image_containers.emplace(container.image, container.name);
        plan.container_ids.insert(container.id);
    }
    std::set<std::int64_t> firm;  // layers kept by what has a name
    std::set<std::int64_t> kept;
    std::vector<std::pair<const Facts::ImageFact*, std::string>> held_images;
    for (const auto& [number, image] : facts.images) {
        std::string held_by;
        if (const auto user = image_containers.find(number); user != image_containers.end()) {
            held_by = fmt::format("container {}", user->second);
        } else {
            for (const std::string& digest : {image.id, image.manifest}) {
                const auto lease = lease_blobs.find(digest);
                if (lease == lease_blobs.end()) continue;
                held_by = fmt::format("lease of process {}: {}", lease->second->process.pid,
                                      lease->second->purpose);
            }
        }
        if (!image.named && held_by.empty()) {
            plan.images.push_back(number);
            continue;
        }
        if (image.named) {
            firm.insert(image.layers.begin(), image.layers.end());
        } else {
            held_images.emplace_back(&image, held_by);
        }
        kept.insert(image.layers.begin(), image.layers.end());
        plan.blob_names.insert(image.id);
        plan.blob_names.insert(image.manifest);
        plan.view_keys.insert(facts.view_key(image.layers));
    }

    // ---- layers
    for (const auto& [number, container] : facts.containers) {
        kept.insert(container.layers.begin(), container.layers.end());
        plan.view_keys.insert(facts.view_key(container.layers));
    }
    for (const auto& [lease, layers] : lease_layers) kept.insert(layers.begin(), layers.end());
    std::vector<std::int64_t> cache_only;
    if (options.keep_cache) {
        for (auto q = database.prepare("SELECT DISTINCT layer FROM cache WHERE layer IS NOT NULL");
             q.step();) {
            if (kept.insert(q.integer(0)).second) cache_only.push_back(q.integer(0));
        }
    }
    for (const auto& [number, diff_id] : facts.layers) {
        if (kept.contains(number)) {
            plan.layer_names.insert(diff_id.substr(diff_id.find(':') + 1));
        } else {
            plan.layers.push_back(number);
        }
    }

    // ---- build cache: rows whose layer goes, and steps that made no layer and that nothing else needs
    if (!options.keep_cache) {
        for (auto q = database.prepare("SELECT key, layer FROM cache"); q.step();) {
            if (q.null(1) || !kept.contains(q.integer(1))) plan.cache_keys.push_back(q.text(0));
        }
    }

    // ---- blobs
    for (const auto& [digest, lease] : lease_blobs) plan.blob_names.insert(digest);
    for (auto q = database.prepare("SELECT blob, layer FROM layer_blobs"); q.step();) {
        if (kept.contains(q.integer(1))) plan.blob_names.insert(q.text(0));
    }
    std::set<std::string> rows_of_blobs;
    for (auto q = database.prepare("SELECT digest FROM blobs"); q.step();) {
        rows_of_blobs.insert(q.text(0));
        if (!plan.blob_names.contains(q.text(0))) plan.blobs.push_back(q.text(0));
    }
    // What stays on disk is what is wanted and has a row: a file without one is a stray even if its name is
    // good.
    for (auto it = plan.blob_names.begin(); it != plan.blob_names.end();)
        it = rows_of_blobs.contains(*it) ? std::next(it) : plan.blob_names.erase(it);

    // ---- objects
    database.script(
        "CREATE TEMP TABLE IF NOT EXISTS kept_layers(number INTEGER PRIMARY KEY, firm INTEGER NOT NULL);"
        "DELETE FROM temp.kept_layers");
    for (const std::int64_t layer : kept)
        database.run("INSERT INTO temp.kept_layers VALUES(?, ?)", layer, firm.contains(layer) ? 1 : 0);
    std::uint64_t waiting_bytes = 0;
    std::uint64_t waiting = 0;
    auto unreached = database.prepare(
        "SELECT o.allocated, coalesce(o.condemned, ?) FROM objects o WHERE NOT EXISTS(SELECT 1 FROM "
        "layer_objects l "
        "JOIN temp.kept_layers k ON k.number = l.layer WHERE l.object = o.number)");
    for (unreached.bind(generation); unreached.step();) {
        const bool now = unreached.integer(1) < oldest_generation;
        (now ? plan.objects : waiting) += 1;
        (now ? plan.object_bytes : waiting_bytes) += unreached.size(0);
    }

    // ---- why the rest stays
    for (const auto& [image, by] : held_images) {
        plan.kept.push_back(
            {fmt::format("image {}", image->id), bytes_held_only_by(database, image->layers), by});
    }
    for (const Holder& lease : leases) {
        std::vector<std::int64_t> only;
        for (const std::int64_t layer : lease_layers[lease.number]) {
            if (!firm.contains(layer)) only.push_back(layer);
        }
        if (only.empty()) continue;
        plan.kept.push_back({fmt::format("{} layers", only.size()), bytes_held_only_by(database, only),
                             fmt::format("lease of process {}: {}", lease.process.pid, lease.purpose)});
    }
    if (!cache_only.empty()) {
        plan.kept.push_back({fmt::format("{} layers", cache_only.size()),
                             bytes_held_only_by(database, cache_only), "the build cache"});
    }
    if (waiting > 0) {
        const Holder& oldest =
            *std::min_element(live_transactions.begin(), live_transactions.end(),
                              [](const Holder& a, const Holder& b) { return a.generation < b.generation; });
        plan.kept.push_back(
            {fmt::format("{} objects that nothing refers to", waiting), waiting_bytes,
             fmt::format("process {} may be about to use them: {}", oldest.process.pid, oldest.purpose)});
    }
    return plan;
}

// ---- strays

namespace {

std::vector<std::string> names_in(const std::filesystem::path& directory) {
    std::vector<std::string> names;
    std::error_code error;  // a directory that is not there holds nothing
    for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end;
         it.increment(error)) {
        names.push_back(it->path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
}

bool all_digits(const std::string& text) {
    return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

class StrayFinder {
  public:
    StrayFinder(Store& store, const GcPlan& plan, const struct timespec* used_before)
        : store_(store), plan_(plan), used_before_(used_before) {}

    std::vector<Stray> find() {
        for (const std::string& name : names_in(store_.path("layers"))) {
            if (!plan_.layer_names.contains(name))
                add(Stray::Kind::layer, store_.path("layers") / name, name);
        }
        for (const std::string& algorithm : names_in(store_.path("blobs"))) {
            for (const std::string& name : names_in(store_.path("blobs") / algorithm)) {
                const std::string digest = algorithm + ":" + name;
                if (!plan_.blob_names.contains(digest))
                    add(Stray::Kind::blob, store_.path("blobs") / algorithm / name, digest);
            }
        }
        views();
        objects();
        for (const std::string& name : names_in(store_.path("tx"))) {
            const bool live =
                all_digits(name) && plan_.live_transactions.contains(std::stoll(name.substr(0, 18)));
            if (!live) add(Stray::Kind::transaction, store_.path("tx") / name, name);
        }
        for (const std::string& name : names_in(store_.path("containers"))) {
            if (!plan_.container_ids.contains(name))
                add(Stray::Kind::container, store_.path("containers") / name, name);
        }
        return std::move(found_);
    }

  private:
    void add(Stray::Kind kind, std::filesystem::path path, std::string name) {
        const std::uint64_t bytes = directory_usage(path).bytes;
        found_.push_back({kind, std::move(path), std::move(name), bytes});
    }

    void views() {
        const std::filesystem::path directory = store_.path("views");
        for (const std::string& name : names_in(directory)) {
            const std::string key = name.substr(0, name.find('.'));
            const bool unfinished = name.size() > 4 && name.compare(name.size() - 4, 4, ".new") == 0;
            if (!unfinished && (plan_.view_keys.contains(key) || in_use(directory / name, key))) continue;
            add(Stray::Kind::view, directory / name, name);
        }
    }

    /// Asked for since the oldest running job began, or while gc runs.
    bool in_use(const std::filesystem::path& view, const std::string& key) {
        struct stat st {};
        const std::filesystem::path stamp = store_.path("views") / (key + ".used");  // of a directory view
        if (::lstat(stamp.c_str(), &st) != 0 && ::lstat(view.c_str(), &st) != 0) return false;
        if (st.st_mtim.tv_sec >= plan_.oldest_job) return true;
        if (used_before_ == nullptr) return false;
        return std::pair(st.st_mtim.tv_sec, st.st_mtim.tv_nsec) >
               std::pair(used_before_->tv_sec, used_before_->tv_nsec);
    }

    void objects() {
        std::unordered_set<ObjectId> rows;
        for (auto q = store_.catalogue().database().prepare("SELECT id FROM objects"); q.step();)
            rows.insert(q.object(0));
        for (const std::string& bucket : names_in(store_.objects_directory())) {
            for (const std::string& name : names_in(store_.objects_directory() / bucket)) {
                const std::filesystem::path path = store_.objects_directory() / bucket / name;
                const std::size_t dot = name.find('.');
                if (dot != std::string::npos) {
                    const std::string owner = name.substr(dot + 1);
                    const bool live = all_digits(owner) &&
                                      plan_.live_transactions.contains(std::stoll(owner.substr(0, 18)));
                    if (!live) add(Stray::Kind::staged, path, owner);
                    continue;
                }
                const std::string hex = bucket + name;
                const bool well_formed =
                    hex.size() == 64 && hex.find_first_not_of("0123456789abcdef") == std::string::npos;
                if (!well_formed || !rows.contains(ObjectId::parse_hex(hex)))
                    add(Stray::Kind::object, path, hex);
            }
        }
    }

    Store& store_;
    const GcPlan& plan_;
    const struct timespec* used_before_;
    std::vector<Stray> found_;
};

}  // namespace

std::vector<Stray> find_strays(Store& store, const GcPlan& plan, const struct timespec* used_before) {
    return StrayFinder(store, plan, used_before).find();
}

}  // namespace surcoat
