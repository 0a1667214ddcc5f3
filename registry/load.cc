#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>

#include "layers/base/error.h"
#include "layers/base/file.h"
#include "layers/store/lease.h"
#include "registry/docker_archive.h"
#include "registry/layout.h"
#include "registry/transport.h"

namespace surcoat::registry {
namespace {

constexpr std::size_t kSniffBytes = 6;

/// What was opened: a directory or an archive, and the repository that its file name suggests.
struct Opened {
    UniqueFd file;
    std::unique_ptr<Members> members;
    std::string base_name;
};

/// "images/Shop-1.oci.tar.gz" → "shop-1"
std::string base_name_of(const std::string& path) {
    std::string name = std::filesystem::path(path).lexically_normal().filename().string();
    for (bool more = true; more;) {
        more = false;
        for (const std::string_view suffix : {".gz", ".zst", ".tgz", ".tar", ".oci", ".xz", ".bz2"}) {
            if (name.size() > suffix.size() && name.ends_with(suffix)) {
                name.resize(name.size() - suffix.size());
                more = true;
            }
        }
    }
    try {
        Reference::parse(name + ":x");
        return name;
    } catch (const Error&) {
        return {};  // no name that an image can have
    }
}

Opened open_members(Store& store, const std::string& path) {
    Opened opened;
    const bool standard_input = path == "-";
    if (!standard_input) opened.base_name = base_name_of(path);
    if (std::error_code ignored; !standard_input && std::filesystem::is_directory(path, ignored)) {
        opened.members = std::make_unique<DirectoryMembers>(path);
        return opened;
    }
    if (!standard_input) opened.file = open_file(path, O_RDONLY);
    opened.members =
        std::make_unique<ArchiveMembers>(standard_input ? STDIN_FILENO : opened.file.get(), store.path("tx"));
    return opened;
}

std::vector<OfferedImage> read_offer(Members& members, const std::string& base_name, Progress& progress) {
    const bool layout = members.has(kIndexFile);
    if (layout) {
        std::vector<OfferedImage> images = read_layout(members, base_name, progress);
        if (members.has(kDockerManifestFile)) add_docker_names(members, images, progress);
        return images;
    }
    if (auto* archive = dynamic_cast<ArchiveMembers*>(&members)) archive->follow_links(true);
    if (members.has(kDockerManifestFile)) return read_docker_archive(members, progress);
    throw Error(
        Errc::invalid,
        "this is no image: there is neither an index.json (OCI layout) nor a manifest.json (docker-archive)")
        .hint("a root filesystem becomes an image by `surcoat import`");
}

/// Takes an offer into the store, all in one transaction.
class Loading {
  public:
    Loading(Store& store, const Members& members, Progress& progress)
        : store_(store),
          members_(members),
          progress_(progress),
          transaction_(store, "load"),
          lease_(store, "load") {}

    void take(const OfferedImage& offer) {
        if (!platform_rank(offer.image.platform, Platform::host())) {
            progress_.warning(fmt::format("image {} is for {}; this machine is {}",
                                          Digest::of(offer.config).short_hex(), offer.image.platform.str(),
                                          Platform::host().str()));
        }
        std::vector<std::uint64_t> sizes;
        for (std::size_t i = 0; i < offer.layers.size(); ++i) {
            const OfferedLayer& layer = offer.layers[i];
            const std::string what =
                fmt::format("layer {}/{} {}", i + 1, offer.layers.size(), layer.diff_id.digest.short_hex());
            sizes.push_back(take_layer(layer, what, i == 0));
        }
        Taken taken;
        taken.staged.id = transaction_.add_blob(offer.config, offer.config_type);
        taken.staged.layers = offer.image.layers;
        if (offer.image.created) taken.staged.created_at = parse_rfc3339(*offer.image.created);
        taken.staged.manifest = take_manifest(offer, sizes);
        for (const Reference& name : offer.names) taken.names.push_back(name);
        taken_.push_back(std::move(taken));
    }

    std::vector<LoadedImage> commit() {
        transaction_.commit([&](Catalogue::Write& write) {
            for (const Taken& taken : taken_) {
                std::vector<std::string> names;
                for (const Reference& name : taken.names) names.push_back(name.full());
                ImageStore::publish(write, taken.staged, names);
            }
        });
        std::vector<LoadedImage> loaded;
        for (const Taken& taken : taken_) {
            LoadedImage image{.id = taken.staged.id, .names = {}};
            for (const Reference& name : taken.names) image.names.push_back(name.familiar());
            if (image.names.empty()) {
                progress_.warning(fmt::format(
                    "image {0} has no name; gc takes it unless you give it one: surcoat tag {0} NAME",
                    image.id.short_hex()));
            }
            loaded.push_back(std::move(image));
        }
        return loaded;
    }

  private:
    struct Taken {
        ImageStore::Staged staged{
            .id = Digest::of(""), .manifest = Digest::of(""), .layers = {}, .created_at = {}};
        std::vector<Reference> names;
    };

    Digest take_manifest(const OfferedImage& offer, const std::vector<std::uint64_t>& sizes) {
        if (!offer.manifest.empty()) return transaction_.add_blob(offer.manifest, offer.manifest_type);
        // A docker-archive has none. One that the image came with before is worth more than one of ours.
        if (const auto known = store_.catalogue().image(Digest::of(offer.config));
            known && store_.has_blob(known->manifest)) {
            lease_.hold_blob(known->manifest);
            return known->manifest;
        }
        const Manifest made = plain_manifest(offer.config, offer.image.layers, sizes);
        return transaction_.add_blob(made.to_json(), made.media_type);
    }

    bool keep(Compression compression) const {
        switch (store_.options().keep_blobs) {
            case KeepBlobs::always:
                return true;
            case KeepBlobs::never:
                return false;
            case KeepBlobs::automatic:
                break;
        }
        return compression != Compression::none;
    }

    /// Bytes of the layer's archive if the store has all of it that this offer would give; it is then held.
    std::optional<std::uint64_t> present(const OfferedLayer& layer) {
        const auto row = store_.catalogue().layer(layer.diff_id);
        if (!row) return std::nullopt;
        const bool compressed = layer.blob && *layer.blob != layer.diff_id.digest;
        if (compressed) {
            const auto form = store_.catalogue().layer_blob(*layer.blob);
            if (!form) return std::nullopt;
            check_size(layer, form->size);
            if (form->diff_id != layer.diff_id) {
                throw Error(Errc::corrupt,
                            fmt::format("blob {} is layer {}, but the configuration says {}",
                                        layer.blob->str(), form->diff_id.str(), layer.diff_id.str()));
            }
            if (keep(form->compression) && !store_.has_blob(*layer.blob)) return std::nullopt;
            lease_.hold_blob(*layer.blob);
        } else if (layer.blob) {
            check_size(layer, row->archive_bytes);
        }
        lease_.hold_layers(std::span(&layer.diff_id, 1));
        return row->archive_bytes;
    }

    static void check_size(const OfferedLayer& layer, std::uint64_t known) {
        if (layer.size && *layer.size != known) {
            throw Error(Errc::corrupt, fmt::format("the descriptor of blob {} says {} bytes, but it has {}",
                                                   layer.blob->str(), *layer.size, known));
        }
    }

    /// Returns the bytes of its plain archive.
    std::uint64_t take_layer(const OfferedLayer& layer, const std::string& what, bool lowest) {
        const std::string key = layer.diff_id.str() + " " + (layer.blob ? layer.blob->str() : "");
        if (const auto known = done_.find(key); known != done_.end()) return known->second;
        const std::uint64_t bytes = doing(what, [&] {
            if (const auto there = present(layer)) {
                progress_.note(what + ": already in the store");
                return *there;
            }
            return import(layer, what, lowest);
        });
        done_.emplace(key, bytes);
        return bytes;
    }

    std::uint64_t import(const OfferedLayer& layer, const std::string& what, bool lowest) {
        const auto size = members_.size(layer.member);
        if (!size) {
            throw Error(Errc::corrupt, fmt::format("'{}' is missing", layer.member))
                .hint("the image is incomplete: copy or save it again");
        }
        if (layer.size && *layer.size != *size) {
            throw Error(Errc::corrupt, fmt::format("its descriptor says {} bytes, '{}' has {}", *layer.size,
                                                   layer.member, *size));
        }
        std::vector<std::byte> first(kSniffBytes);
        first.resize(read_full(*members_.open(layer.member), first));
        const Compression compression = sniff_compression(first);
        if (const auto declared = layer_compression(layer.media_type); declared && *declared != compression) {
            progress_.warning(fmt::format("{}: its media type {} says {}, but it is {}; read as what it is",
                                          what, layer.media_type, to_string(*declared),
                                          to_string(compression)));
        }
        Transaction::ImportOptions options;
        options.expected_blob = layer.blob;
        options.expected_size = size;
        options.expected_diff_id = layer.diff_id;
        options.compression = compression;
        // Without a descriptor the image's manifest is ours, which names plain layers: nothing refers to the
        // blob.
        options.keep_blob = layer.blob && keep(compression);
        options.media_type = layer.media_type;
        options.progress = &progress_;
        options.what = what;
        options.base = lowest;
        const auto source = members_.open(layer.member);
        return transaction_.import_layer(*source, options).archive_bytes;
    }

    Store& store_;
    const Members& members_;
    Progress& progress_;
    Transaction transaction_;
    Lease lease_;
    std::map<std::string, std::uint64_t> done_;
    std::vector<Taken> taken_;
};

}  // namespace

std::vector<LoadedImage> load_images(Store& store, const std::string& path, Progress& progress) {
    return doing(fmt::format("cannot load '{}'", path == "-" ? "standard input" : path), [&] {
        const Opened opened = open_members(store, path);
        const std::vector<OfferedImage> offers = read_offer(*opened.members, opened.base_name, progress);
        Loading loading(store, *opened.members, progress);
        for (const OfferedImage& offer : offers) loading.take(offer);
        std::vector<LoadedImage> loaded = loading.commit();
        ImageStore(store).write_layout_index();
        return loaded;
    });
}

}  // namespace surcoat::registry
