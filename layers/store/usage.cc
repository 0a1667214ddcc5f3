// Numbers: README, "Numbers". Objects are counted by classes: all objects that lie in exactly the same set of
// layers are one class, so that a store with a million objects is a few hundred sums, made in one pass over
// layer_objects. Nothing of it is stored.
#include "layers/store/usage.h"

#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "layers/base/error.h"
#include "layers/base/file.h"
#include "layers/store/database.h"
#include "layers/store/gc.h"

namespace surcoat {
namespace {

struct ObjectClass {
    std::vector<std::int64_t> layers;  ///< ascending
    std::uint64_t allocated = 0;
    std::uint64_t objects = 0;
};

std::vector<ObjectClass> object_classes(Database& database) {
    std::map<std::vector<std::int64_t>, ObjectClass> classes;
    std::vector<std::int64_t> layers;
    std::int64_t object = -1;
    std::uint64_t allocated = 0;
    const auto close = [&] {
        if (layers.empty()) return;
        ObjectClass& c = classes[layers];
        c.allocated += allocated;
        ++c.objects;
        layers.clear();
    };
    auto query = database.prepare(
        "SELECT l.object, l.layer, o.allocated FROM layer_objects l JOIN objects o ON o.number = l.object "
        "ORDER BY l.object, l.layer");
    while (query.step()) {
        if (query.integer(0) != object) {
            close();
            object = query.integer(0);
            allocated = query.size(2);
        }
        layers.push_back(query.integer(1));
    }
    close();
    std::vector<ObjectClass> all;
    for (auto& [key, c] : classes) {
        c.layers = key;
        all.push_back(std::move(c));
    }
    return all;
}

/// visible_bytes of chains: remembered in the catalogue, since they never change.
class ChainSizes {
  public:
    explicit ChainSizes(Store& store) : store_(store) {
        auto query = store.catalogue().database().prepare("SELECT key, visible_bytes FROM chain_sizes");
        while (query.step()) known_.emplace(query.text(0), query.size(1));
    }
    std::uint64_t visible(const std::vector<DiffId>& chain) {
        if (chain.empty()) return 0;
        const std::string key = Store::view_key(chain);
        if (const auto found = known_.find(key); found != known_.end()) return found->second;
        const std::uint64_t bytes = store_.tree(chain)->visible_bytes();
        known_.emplace(key, bytes);
        fresh_.emplace_back(key, bytes);
        return bytes;
    }
    /// Not worth waiting for: whoever cannot write now works it out again.
    void remember() {
        // Inside somebody's snapshot nothing can be written either.
        if (fresh_.empty() || store_.catalogue().database().in_transaction()) return;
        store_.catalogue().database().try_write([&] {
            for (const auto& [key, bytes] : fresh_) {
                store_.catalogue().database().run(
                    "INSERT INTO chain_sizes(key, visible_bytes) VALUES(?, ?) ON CONFLICT DO NOTHING", key,
                    bytes);
            }
        });
    }

  private:
    Store& store_;
    std::unordered_map<std::string, std::uint64_t> known_;
    std::vector<std::pair<std::string, std::uint64_t>> fresh_;
};

}  // namespace

std::vector<ImageUsage> image_usage(Store& store) {
    Catalogue& catalogue = store.catalogue();
    std::vector<ImageUsage> result;
    std::optional<ChainSizes> sizes;
    catalogue.snapshot([&] {
        Database& database = catalogue.database();
        sizes.emplace(store);
        std::map<std::int64_t, std::set<std::size_t>> images_of;  // layer → indices into `result`
        std::map<std::string, std::pair<std::int64_t, std::uint64_t>> layers;
        for (auto q = database.prepare("SELECT diff_id, number, content_bytes FROM layers"); q.step();) {
            layers.emplace(q.text(0), std::pair(q.integer(1), q.size(2)));
        }
        for (const ImageRow& image : catalogue.images()) {
            ImageUsage usage{.image = image.id};
            for (const DiffId& layer : image.layers) {
                const auto& [number, content] = layers.at(layer.str());
                images_of[number].insert(result.size());
                usage.layer_bytes += content;
            }
            usage.visible_bytes = sizes->visible(image.layers);
            usage.containers =
                static_cast<std::uint64_t>(database
                                               .integer("SELECT count(*) FROM containers c JOIN images i ON "
                                                        "i.number = c.image WHERE i.id = ?",
                                                        image.id)
                                               .value_or(0));
            result.push_back(std::move(usage));
        }
        std::unordered_set<std::int64_t> contained;  // layers that some container stands on
        for (auto q = database.prepare("SELECT DISTINCT layer FROM container_layers"); q.step();)
            contained.insert(q.integer(0));

        for (const ObjectClass& c : object_classes(database)) {
            std::set<std::size_t> users;
            bool in_container = false;
            for (const std::int64_t layer : c.layers) {
                if (const auto found = images_of.find(layer); found != images_of.end())
                    users.insert(found->second.begin(), found->second.end());
                in_container = in_container || contained.contains(layer);
            }
            for (const std::size_t user : users) {
                result[user].size += c.allocated;
                result[user].fair += static_cast<double>(c.allocated) / static_cast<double>(users.size());
                if (users.size() == 1 && !in_container) result[user].unique += c.allocated;
            }
        }
    });
    sizes->remember();
    return result;
}

std::vector<ContainerUsage> container_usage(Store& store, bool measure) {
    std::vector<ContainerUsage> result;
    std::optional<ChainSizes> sizes;
    store.catalogue().snapshot([&] {
        sizes.emplace(store);
        for (const ContainerRow& container : store.catalogue().containers()) {
            result.push_back({container.id, 0, sizes->visible(container.layers)});
        }
    });
    sizes->remember();
    if (measure) {
        for (ContainerUsage& usage : result)
            usage.own = directory_usage(store.container_directory(usage.id)).bytes;
    }
    return result;
}

namespace {

/// What lies in the store's directory, by class. Named objects are not looked at one by one: their rows say
/// what they take.
class Measurer {
  public:
    Measurer(Store& store, StoreUsage& usage) : store_(store), usage_(usage) {}

    void measure() {
        rows();
        for (const std::string& name : names(store_.root())) {
            const std::filesystem::path path = store_.root() / name;
            if (name == "objects") {
                objects(path);
            } else if (name == "layers") {
                contents(path, [&](const std::string& layer) {
                    return layers_.contains(layer) ? &usage_.layers : &usage_.staging;
                });
            } else if (name == "blobs") {
                one(path, usage_.other);
                for (const std::string& algorithm : names(path)) {
                    contents(path / algorithm, [&](const std::string& blob) {
                        return blobs_.contains(algorithm + ":" + blob) ? &usage_.blobs : &usage_.staging;
                    });
                }
            } else if (name == "views") {
                contents(path, [&](const std::string&) { return &usage_.views; });
            } else if (name == "containers") {
                contents(path, [&](const std::string&) { return &usage_.containers; });
            } else if (name == "tx") {
                contents(path, [&](const std::string&) { return &usage_.staging; });
            } else {
                whole(path, name.compare(0, 12, "store.sqlite") == 0 ? usage_.catalogue : usage_.other);
            }
        }
        one(store_.root(), usage_.other);
        usage_.total = usage_.objects + usage_.layers + usage_.views + usage_.blobs + usage_.containers +
                       usage_.catalogue + usage_.staging + usage_.other;
    }

  private:
    static std::vector<std::string> names(const std::filesystem::path& directory) {
        std::vector<std::string> found;
        std::error_code error;
        for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end;
             it.increment(error)) {
            found.push_back(it->path().filename().string());
        }
        return found;
    }

    void rows() {
        Database& database = store_.catalogue().database();
        for (auto q = database.prepare("SELECT id, allocated FROM objects"); q.step();) {
            objects_.insert(q.object(0));
            usage_.objects += q.size(1);
            ++usage_.inodes;
        }
        for (auto q = database.prepare("SELECT diff_id FROM layers"); q.step();)
            layers_.insert(std::string(q.digest(0).hex()));
        for (auto q = database.prepare("SELECT digest FROM blobs"); q.step();) blobs_.insert(q.text(0));
    }

    void one(const std::filesystem::path& path, std::uint64_t& into) {
        const auto st = lstat_path(path);
        if (!st) return;
        into += static_cast<std::uint64_t>(st->st_blocks) * 512;
        ++usage_.inodes;
    }
    void whole(const std::filesystem::path& path, std::uint64_t& into) {
        const DiskUsage found = directory_usage(path);
        into += found.bytes;
        usage_.inodes += found.inodes;
    }
    template <typename Class>
    void contents(const std::filesystem::path& directory, Class class_of) {
        one(directory, usage_.other);
        for (const std::string& name : names(directory)) whole(directory / name, *class_of(name));
    }
    void objects(const std::filesystem::path& directory) {
        one(directory, usage_.other);
        for (const std::string& bucket : names(directory)) {
            one(directory / bucket, usage_.other);
            for (const std::string& name : names(directory / bucket)) {
                const std::string hex = bucket + name;
                const bool well_formed =
                    hex.size() == 64 && hex.find_first_not_of("0123456789abcdef") == std::string::npos;
                if (!well_formed || !objects_.contains(ObjectId::parse_hex(hex)))
                    one(directory / bucket / name, usage_.staging);
            }
        }
    }

    Store& store_;
    StoreUsage& usage_;
    std::unordered_set<ObjectId> objects_;
    std::unordered_set<std::string> layers_;
    std::unordered_set<std::string> blobs_;
};

}  // namespace

StoreUsage store_usage(Store& store) {
    StoreUsage usage;
    Catalogue& catalogue = store.catalogue();
    std::vector<ImageRow> images;
    std::vector<ContainerRow> containers;
    std::map<DiffId, std::uint64_t> layer_content;
    std::optional<ChainSizes> sizes;
    catalogue.snapshot([&] {
        sizes.emplace(store);
        images = catalogue.images();
        containers = catalogue.containers();
        for (const LayerRow& layer : catalogue.layers())
            layer_content.emplace(layer.diff_id, layer.content_bytes);
        usage.object_count = static_cast<std::uint64_t>(
            catalogue.database().integer("SELECT count(*) FROM objects").value_or(0));
        for (const ImageRow& image : images) usage.images_as_copies += sizes->visible(image.layers);
        for (const ContainerRow& container : containers)
            usage.containers_as_copies += sizes->visible(container.layers);
    });
    sizes->remember();
    usage.image_count = images.size();
    usage.layer_count = layer_content.size();
    usage.container_count = containers.size();

    std::set<std::vector<DiffId>> prefixes;  // docker and podman keep a layer once for every chain below it
    for (const ImageRow& image : images) {
        std::vector<DiffId> prefix;
        for (const DiffId& layer : image.layers) {
            prefix.push_back(layer);
            if (prefixes.insert(prefix).second) usage.images_sharing_layers += layer_content[layer];
        }
    }
    usage.reclaimable = collect_garbage(store, {.dry_run = true, .keep_cache = false}).bytes;
    catalogue.snapshot([&] { Measurer(store, usage).measure(); });
    usage.containers_as_copies += usage.containers;
    return usage;
}

}  // namespace surcoat
