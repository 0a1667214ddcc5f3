#include "layers/store/store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "layers/base/error.h"
#include "layers/base/file.h"
#include "layers/base/json.h"
#include "layers/store/database.h"
#include "layers/store/store_state.h"

namespace surcoat {
namespace {

constexpr std::int64_t kFormatVersion = 1;
constexpr std::array kParts = {"lock",  "objects",      "layers",     "views",
                               "blobs", "blobs/sha256", "containers", "tx"};
constexpr std::size_t kRememberedTrees = 4;

std::string user_name(uid_t uid) {
    if (const passwd* entry = ::getpwuid(uid)) return fmt::format("{} (uid {})", entry->pw_name, uid);
    return fmt::format("uid {}", uid);
}

/// A directory that somebody named by mistake (his home, say) is not turned into a store.
void refuse_foreign_directory(const std::filesystem::path& root) {
    constexpr std::array ours = {"format.json", "store.sqlite", "lock",       "objects",
                                 "layers",      "views",        "blobs",      "containers",
                                 "tx",          "oci-layout",   "index.json", "lost+found"};
    for (const auto& entry : std::filesystem::directory_iterator(root)) {
        const std::string name = entry.path().filename().string();
        const bool known = std::any_of(ours.begin(), ours.end(), [&](std::string_view our) {
            return name.compare(0, our.size(), our) == 0;
        });
        if (known) continue;
        throw Error(Errc::invalid, fmt::format("'{}' is no surcoat store: there is no format.json, but '{}'",
                                               root.string(), name))
            .hint("give an empty or a new directory to --store");
    }
}

void check_format(const std::filesystem::path& file, const std::string& text) {
    const Json format = doing(fmt::format("cannot use the store '{}'", file.parent_path().string()),
                              [&] { return Json::parse(text, file.string()); });
    const std::int64_t version = format.int_or("version", 0);
    if (version != kFormatVersion) {
        throw Error(Errc::unsupported,
                    fmt::format("the store '{}' has format version {}; this program knows version {}",
                                file.parent_path().string(), version, kFormatVersion))
            .hint("use the surcoat that wrote it, or another store (--store)");
    }
    if (const std::vector<std::string> bits = format.strings("incompatible"); !bits.empty()) {
        throw Error(Errc::unsupported,
                    fmt::format("the store '{}' uses the feature '{}', which this program does not know",
                                file.parent_path().string(), bits.front()))
            .hint("use a newer surcoat, or another store (--store)");
    }
}

/// Makes what is missing, in an order that can be interrupted anywhere and begun again.
StoreOptions prepare(StoreOptions options) {
    const std::filesystem::path& root = options.root;
    if (root.empty()) throw Error(Errc::invalid, "no directory was given for the store");
    options.root = std::filesystem::absolute(root);
    if (!lstat_path(root)) {
        make_directories(root.has_parent_path() ? root.parent_path() : ".");
        make_directories(root, 0700);
    }
    struct stat st {};
    if (::stat(root.c_str(), &st) != 0) throw_errno(fmt::format("open the store '{}'", root.string()));
    if (!S_ISDIR(st.st_mode))
        throw Error(Errc::invalid, fmt::format("the store '{}' is not a directory", root.string()));
    if (st.st_uid != ::geteuid()) {
        throw Error(Errc::denied, fmt::format("the store '{}' belongs to {}; you are {}", root.string(),
                                              user_name(st.st_uid), user_name(::geteuid())))
            .hint("run surcoat as that user, or use a store of your own (--store)");
    }
    const std::filesystem::path format = root / "format.json";
    if (const auto fd = try_open_file(format, O_RDONLY)) {
        check_format(format, read_file(fd->get(), 1 << 20));
    } else {
        refuse_foreign_directory(root);
        write_file_durably(format, "{\"version\":1,\"incompatible\":[],\"compatible\":[]}\n");
    }
    for (const char* part : kParts) make_directories(root / part);
    return options;
}

class HashingSink final : public ByteSink {
  public:
    explicit HashingSink(ByteSink& sink) : sink_(sink) {}
    void write(ByteSpan bytes) override {
        hasher_.update(bytes);
        sink_.write(bytes);
    }
    Digest digest() { return Digest::sha256(hasher_.finish()); }

  private:
    ByteSink& sink_;
    Hasher hasher_;
};

}  // namespace

std::string object_name(const ObjectId& id) {
    const std::string hex = id.hex();
    return hex.substr(0, 2) + "/" + hex.substr(2);
}

void verify_object(const std::filesystem::path& file, const ObjectId& id) {
    const auto fd = try_open_file(file, O_RDONLY | O_NOFOLLOW);
    if (!fd) {
        throw Error(Errc::corrupt, fmt::format("object {} has no file", id.hex()))
            .hint("`surcoat fsck` lists the images that need it");
    }
    Hasher hasher;
    std::vector<std::byte> buffer(1 << 18);
    std::uint64_t size = 0;
    for (std::size_t n; (n = FdSource(fd->get()).read(buffer)) > 0; size += n)
        hasher.update(ByteSpan(buffer).first(n));
    if (const Sha256Bytes found = hasher.finish(); found != id.hash) {
        throw Error(Errc::corrupt, fmt::format("object {} is damaged: its {} bytes have the sha256 {}",
                                               id.hex(), size, to_hex(found)))
            .hint("`surcoat fsck` lists the images that need it");
    }
}

Store::Store(StoreOptions options) : state_(std::make_unique<State>(prepare(std::move(options)))) {}
Store::~Store() = default;
Store::Store(Store&&) noexcept = default;

const StoreOptions& Store::options() const {
    return state_->options;
}
const std::filesystem::path& Store::root() const {
    return state_->options.root;
}
Catalogue& Store::catalogue() {
    return state_->catalogue;
}
std::filesystem::path Store::path(std::string_view part) const {
    return state_->options.root / part;
}

// ---- objects

std::filesystem::path Store::objects_directory() const {
    return path("objects");
}
std::filesystem::path Store::object_path(const ObjectId& id) const {
    return path("objects") / object_name(id);
}

UniqueFd Store::open_object(const ObjectId& id) const {
    if (auto fd = try_open_file(object_path(id), O_RDONLY | O_NOFOLLOW)) return std::move(*fd);
    if (!state_->catalogue.has_object(id))
        throw Error(Errc::not_found, fmt::format("object {} is not in the store", id.hex()));
    throw Error(Errc::corrupt, fmt::format("object {} has a row in the catalogue but no file", id.hex()))
        .hint("run `surcoat fsck`; import or build again what it names");
}

// ---- layers

namespace {

std::filesystem::path toc_path(const Store& store, const DiffId& id) {
    return store.path("layers") / std::string(id.digest.hex()) / "toc";
}

/// A layer that was written without syncing, before the last boot: nothing of it is believed until it was
/// read.
void verify_after_boot(const Store& store, Catalogue& catalogue, const DiffId& id, std::int64_t number) {
    std::vector<std::pair<std::int64_t, ObjectId>> objects;
    {
        auto query = catalogue.database().prepare(
            "SELECT o.number, o.id FROM layer_objects l JOIN objects o ON o.number = l.object "
            "WHERE l.layer = ? AND o.unsynced IS NOT NULL AND o.unsynced <> ?");
        query.bind(number, boot_id());
        while (query.step()) objects.emplace_back(query.integer(0), query.object(1));
    }
    try {
        for (const auto& [object, hash] : objects) verify_object(store.object_path(hash), hash);
        read_toc(as_bytes(read_file(toc_path(store, id))), "layer " + id.str());
    } catch (const Error& cause) {
        throw Error(Errc::corrupt, cause.message())
            .within(fmt::format(
                "layer {} did not survive: it was stored with durability 'fast', and the machine went "
                "down before it was all on disk",
                id.str()))
            .hint(
                "remove what uses it (`surcoat fsck` says what), `surcoat gc`, then import or build it "
                "again");
    }
    if (catalogue.database().in_transaction()) return;  // a reader's snapshot: the mark goes another time
    catalogue.write([&](Catalogue::Write& write) {
        for (const auto& [object, hash] : objects)
            write.database().run("UPDATE objects SET unsynced = NULL WHERE number = ?", object);
        write.database().run("UPDATE layers SET unsynced_boot = NULL WHERE number = ?", number);
    });
}

/// The toc file's bytes, of a layer that has a row and that may be believed.
std::string read_layer(const Store& store, Catalogue& catalogue, const DiffId& id) {
    std::int64_t number = 0;
    std::optional<std::string> boot;
    {
        auto query =
            catalogue.database().prepare("SELECT number, unsynced_boot FROM layers WHERE diff_id = ?");
        query.bind(id);
        if (!query.step()) {
            throw Error(Errc::not_found, fmt::format("layer {} is not in the store", id.str()))
                .hint("`surcoat layers` lists what is");
        }
        number = query.integer(0);
        if (!query.null(1)) boot = query.text(1);
    }
    if (boot && *boot != boot_id()) verify_after_boot(store, catalogue, id, number);
    const auto fd = try_open_file(toc_path(store, id), O_RDONLY | O_NOFOLLOW);
    if (!fd) {
        throw Error(Errc::corrupt, fmt::format("layer {} has a row in the catalogue but no toc", id.str()))
            .hint("run `surcoat fsck`; import or build again what it names");
    }
    return read_file(fd->get());
}

}  // namespace

Toc Store::toc(const DiffId& id) const {
    const std::string file = read_layer(*this, state_->catalogue, id);
    return read_toc(as_bytes(file), "layer " + id.str());
}

void Store::write_archive(const DiffId& id, ByteSink& sink) const {
    const std::string file = read_layer(*this, state_->catalogue, id);
    const Toc toc = read_toc(as_bytes(file), "layer " + id.str());
    const auto skeleton = read_skeleton(as_bytes(file), "layer " + id.str());
    HashingSink hashing(sink);
    regenerate_archive(
        toc, *skeleton, [&](const ObjectId& object) { return open_object(object); }, hashing);
    if (const Digest found = hashing.digest(); found != id.digest) {
        throw Error(Errc::corrupt,
                    fmt::format("layer {} is damaged: its archive, made again, has the digest {}", id.str(),
                                found.str()))
            .hint("`surcoat fsck --deep` names the object; import or build the layer again");
    }
}

std::shared_ptr<const Tree> Store::tree(std::span<const DiffId> chain) {
    auto& trees = state_->trees;
    auto best = trees.end();  // the remembered tree that is the longest beginning of the chain
    for (auto it = trees.begin(); it != trees.end(); ++it) {
        const bool begins =
            it->chain.size() <= chain.size() && std::equal(it->chain.begin(), it->chain.end(), chain.begin());
        if (begins && (best == trees.end() || it->chain.size() > best->chain.size())) best = it;
    }
    State::RememberedTree wanted{{chain.begin(), chain.end()}, {}};
    if (best != trees.end() && best->chain.size() == chain.size()) {
        wanted.tree = best->tree;
        trees.erase(best);
    } else {
        const std::size_t known = best != trees.end() ? best->chain.size() : 0;
        auto tree = known > 0 ? std::make_shared<Tree>(*best->tree) : std::make_shared<Tree>();
        for (const DiffId& layer : chain.subspan(known)) {
            doing(fmt::format("cannot put layer {} on what is below it", layer.str()),
                  [&] { tree->apply(toc(layer).entries()); });
        }
        wanted.tree = std::move(tree);
    }
    trees.push_front(wanted);
    if (trees.size() > kRememberedTrees) trees.pop_back();
    return wanted.tree;
}

// ---- blobs

namespace {

std::filesystem::path blob_path(const Store& store, const Digest& digest) {
    return store.path("blobs") / std::string(digest.algorithm()) / std::string(digest.hex());
}

}  // namespace

UniqueFd Store::open_blob(const Digest& digest) const {
    if (!state_->catalogue.blob(digest))
        throw Error(Errc::not_found, fmt::format("blob {} is not in the store", digest.str()));
    if (auto fd = try_open_file(blob_path(*this, digest), O_RDONLY | O_NOFOLLOW)) return std::move(*fd);
    throw Error(Errc::corrupt, fmt::format("blob {} has a row in the catalogue but no file", digest.str()))
        .hint("run `surcoat fsck`; pull, load or build again what it names");
}

std::string Store::read_blob(const Digest& digest, std::size_t limit) const {
    const UniqueFd fd = open_blob(digest);
    std::string bytes =
        doing(fmt::format("cannot read blob {}", digest.str()), [&] { return read_file(fd.get(), limit); });
    Hasher hasher(digest.algorithm() == "sha512" ? Hasher::Algorithm::sha512 : Hasher::Algorithm::sha256);
    hasher.update(bytes);
    if (const std::string found = hasher.finish_hex(); found != digest.hex()) {
        throw Error(Errc::corrupt, fmt::format("blob {} is damaged: its {} bytes have the digest {}:{}",
                                               digest.str(), bytes.size(), digest.algorithm(), found))
            .hint("run `surcoat fsck`; pull, load or build again what it names");
    }
    return bytes;
}

bool Store::has_blob(const Digest& digest) {
    return state_->catalogue.blob(digest).has_value();
}

}  // namespace surcoat
