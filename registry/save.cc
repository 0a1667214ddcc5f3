#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "layers/base/error.h"
#include "layers/store/lease.h"
#include "registry/docker_archive.h"
#include "registry/layout.h"
#include "registry/layout_writer.h"
#include "registry/spool.h"
#include "registry/transport.h"

// Saving is planned first and written then, since a tar wants each size before the bytes, and an index names
// what was decided for each image. For each layer, the first of these that is possible:
//
//   1. the blob that the manifest names is kept: its bytes
//   2. the manifest names the plain archive: made again from the store, which is exact
//   3. the manifest names a compressed blob that is not kept: compressed anew, which is exact too if it was
//   our
//      own compressor that made it
//   4. the same, but the bytes differ: a new blob and so a new manifest; the image's ID stays, for that names
//      what is in the layers
//
// A compression that was asked for turns plain layers (1 and 2) into new blobs, like 4.

namespace surcoat::registry {
namespace {

struct PlannedBlob {
    std::uint64_t size = 0;
    std::function<void(ByteSink&)> write;
};

/// What became of a layer.
struct PlannedLayer {
    Descriptor descriptor;
    std::string changed_because;  ///< "" if it is the manifest's own
};

struct Compressed {
    Descriptor descriptor;
    std::shared_ptr<SpoolFile> bytes;
};

class SavePlan {
  public:
    SavePlan(Store& store, const SaveOptions& options)
        : store_(store),
          images_(store),
          options_(options),
          progress_(options.progress != nullptr ? *options.progress : no_progress()),
          lease_(store, "save") {
        layer_media_type(options.compression);  // throws for what OCI cannot name
    }

    void add(const std::string& name_or_id) {
        const StoredImage image = images_.get(name_or_id);
        const std::optional<std::string> name = given_name(name_or_id, image.row);
        auto known = by_id_.find(image.row.id);
        if (known == by_id_.end()) {
            known = by_id_.emplace(image.row.id, saved_.size()).first;
            saved_.push_back(doing(fmt::format("cannot save '{}'", name_or_id), [&] { return plan(image); }));
            saved_.back().called = name_or_id;
        }
        std::vector<std::string>& names = saved_[known->second].names;
        if (name && std::find(names.begin(), names.end(), *name) == names.end()) names.push_back(*name);
    }

    std::vector<std::string> write(LayoutWriter& out) {
        std::map<std::string, PlannedBlob> files;
        for (auto& [digest, blob] : blobs_) files.emplace(blob_member(digest), std::move(blob));
        add_text(files, kLayoutFile, kLayoutText);
        add_text(files, kIndexFile, index().to_json());
        if (options_.format == ArchiveFormat::docker_archive)
            add_text(files, kDockerManifestFile, docker_manifest().dump());

        std::uint64_t total = 0;
        for (const auto& [name, file] : files) total += file.size;
        std::uint64_t done = 0;
        for (const auto& [name, file] : files) {
            const auto& write_content = file.write;
            out.file(name, file.size, [&](ByteSink& sink) {
                FunctionSink counted([&](ByteSpan bytes) {
                    sink.write(bytes);
                    progress_.bytes("saving", done += bytes.size(), total);
                });
                write_content(counted);
            });
        }
        out.finish();

        std::vector<std::string> lines;
        for (const Saved& saved : saved_) {
            lines.push_back(
                fmt::format("{}: manifest {}, bit-identical: {}", saved.called, saved.descriptor.digest.str(),
                            saved.changed_because.empty() ? "yes" : "no, because " + saved.changed_because));
        }
        return lines;
    }

  private:
    struct Saved {
        std::string called;  ///< as the user said it
        Descriptor descriptor;
        Manifest manifest;
        std::vector<DiffId> layers;
        std::vector<std::string> names;  ///< full
        std::string changed_because;
    };

    /// The full name if the image was asked for by name, and not by an id or digest.
    std::optional<std::string> given_name(const std::string& text, const ImageRow& image) {
        try {
            const Reference reference = Reference::parse(text).with_default_tag();
            if (reference.digest) return std::nullopt;
            const auto row = store_.catalogue().name(reference.full());
            if (row && row->image == image.id) return row->name;
        } catch (const Error&) {
            // An id.
        }
        return std::nullopt;
    }

    static void add_text(std::map<std::string, PlannedBlob>& files, const std::string& name,
                         std::string text) {
        const std::uint64_t size = text.size();
        files.emplace(name, PlannedBlob{size, [bytes = std::move(text)](ByteSink& sink) {
                                            sink.write(as_bytes(bytes));
                                        }});
    }

    void add_document(const std::string& bytes) {
        blobs_.emplace(Digest::of(bytes),
                       PlannedBlob{bytes.size(), [bytes](ByteSink& sink) { sink.write(as_bytes(bytes)); }});
    }

    Saved plan(const StoredImage& image) {
        lease_.hold_layers(image.row.layers);
        lease_.hold_blob(image.row.manifest);
        lease_.hold_blob(image.row.id);
        std::string text = store_.read_blob(image.row.manifest, kManifestMax);
        const std::string what = fmt::format("manifest {}", image.row.manifest.str());
        Manifest manifest = Manifest::parse(text, what);
        if (manifest.layers.size() != image.row.layers.size()) {
            throw Error(Errc::corrupt, fmt::format("{} has {} layers, the catalogue {}", what,
                                                   manifest.layers.size(), image.row.layers.size()));
        }
        std::vector<PlannedLayer> layers;
        std::string changed;
        for (std::size_t i = 0; i < manifest.layers.size(); ++i) {
            layers.push_back(plan_layer(manifest.layers[i], image.row.layers[i]));
            if (changed.empty()) changed = layers.back().changed_because;
        }
        if (!changed.empty()) {
            text = changed_manifest(text, what, layers);
            manifest = Manifest::parse(text, what);
        }
        add_document(text);
        add_document(store_.read_blob(image.row.id, kConfigMax));
        const Descriptor descriptor{
            .media_type = manifest.media_type, .digest = Digest::of(text), .size = text.size()};
        return Saved{.called = {},
                     .descriptor = descriptor,
                     .manifest = std::move(manifest),
                     .layers = image.row.layers,
                     .names = {},
                     .changed_because = std::move(changed)};
    }

    /// The stored manifest with other layers, as an OCI one; all else that it says (annotations, …) stays.
    static std::string changed_manifest(const std::string& text, const std::string& what,
                                        const std::vector<PlannedLayer>& layers) {
        Json json = Json::parse(text, what);
        Json config = json["config"];
        json.set("mediaType", media_type::kManifest);
        json.set("config", config.set("mediaType", media_type::kConfig));
        Json list = Json::array();
        for (const PlannedLayer& layer : layers) {
            Descriptor descriptor = layer.descriptor;
            if (const auto compression = layer_compression(descriptor.media_type))
                descriptor.media_type = layer_media_type(*compression);
            list.push_back(descriptor.to_json());
        }
        json.set("layers", std::move(list));
        return json.dump();
    }

    PlannedLayer plan_layer(const Descriptor& stored, const DiffId& layer) {
        const bool plain = stored.digest == layer.digest;
        if (plain && options_.compression != Compression::none) {
            return {plan_compressed(compressed(layer, options_.compression)),
                    fmt::format("compression with {} was asked for", to_string(options_.compression))};
        }
        lease_.hold_blob(stored.digest);
        if (store_.has_blob(stored.digest)) {
            blobs_.emplace(stored.digest, kept_blob(stored));
            return {stored, {}};
        }
        if (plain) {
            blobs_.emplace(stored.digest, PlannedBlob{archive_bytes(layer), [this, layer](ByteSink& sink) {
                                                          store_.write_archive(layer, sink);
                                                      }});
            return {stored, {}};
        }
        return plan_lost_blob(stored, layer);
    }

    PlannedLayer plan_lost_blob(const Descriptor& stored, const DiffId& layer) {
        const auto form = store_.catalogue().layer_blob(stored.digest);
        const auto declared = layer_compression(stored.media_type);
        const Compression was = form ? form->compression : declared.value_or(Compression::none);
        if (was == Compression::gzip || was == Compression::zstd) {
            const Compressed& again = compressed(layer, was);
            if (again.descriptor.digest == stored.digest) {
                plan_compressed(again);
                return {stored, {}};
            }
        }
        const std::string why = fmt::format("layer {} came as {} and its bytes were not kept (keep-blobs)",
                                            stored.digest.short_hex(), to_string(was));
        if (options_.compression != Compression::none)
            return {plan_compressed(compressed(layer, options_.compression)), why};
        const Descriptor plain{
            .media_type = media_type::kLayer, .digest = layer.digest, .size = archive_bytes(layer)};
        blobs_.emplace(plain.digest, PlannedBlob{plain.size, [this, layer](ByteSink& sink) {
                                                     store_.write_archive(layer, sink);
                                                 }});
        return {plain, why};
    }

    PlannedBlob kept_blob(const Descriptor& stored) {
        return {stored.size, [this, digest = stored.digest](ByteSink& sink) {
                    const UniqueFd fd = store_.open_blob(digest);
                    FdSource source(fd.get());
                    Hasher hasher;
                    FunctionSink hashing([&](ByteSpan bytes) {
                        hasher.update(bytes);
                        sink.write(bytes);
                    });
                    copy_all(source, hashing);
                    if (const Digest found = Digest::sha256(hasher.finish()); found != digest) {
                        throw Error(Errc::corrupt,
                                    fmt::format("blob {} is damaged: its bytes have the digest {}",
                                                digest.str(), found.str()))
                            .hint("run `surcoat fsck`; load or pull the image again");
                    }
                }};
    }

    std::uint64_t archive_bytes(const DiffId& layer) {
        const auto row = store_.catalogue().layer(layer);
        if (!row)
            throw Error(Errc::corrupt, fmt::format("layer {} is not in the store", layer.str()))
                .hint("run `surcoat fsck`");
        return row->archive_bytes;
    }

    /// The layer compressed by us: made once, whatever comes of it.
    const Compressed& compressed(const DiffId& layer, Compression compression) {
        const auto key = std::pair(layer, compression);
        if (const auto known = compressed_.find(key); known != compressed_.end()) return known->second;
        progress_.note(
            fmt::format("compressing layer {} with {}", layer.digest.short_hex(), to_string(compression)));
        auto spool = std::make_shared<SpoolFile>(store_.path("tx"));
        const auto compressor = compress(*spool, compression);
        store_.write_archive(layer, *compressor);
        compressor->finish();
        const Descriptor made{
            .media_type = layer_media_type(compression), .digest = spool->digest(), .size = spool->size()};
        return compressed_.emplace(key, Compressed{made, std::move(spool)}).first->second;
    }

    const Descriptor& plan_compressed(const Compressed& made) {
        blobs_.emplace(made.descriptor.digest,
                       PlannedBlob{made.descriptor.size, [spool = made.bytes](ByteSink& sink) {
                                       RangeSource source(spool->fd(), 0, spool->size());
                                       copy_all(source, sink);
                                   }});
        return made.descriptor;
    }

    Index index() const {
        Index all;
        for (const Saved& saved : saved_) {
            for (Descriptor& named : named_descriptors(saved.descriptor, saved.names))
                all.manifests.push_back(std::move(named));
        }
        return all;
    }

    Json docker_manifest() const {
        Json all = Json::array();
        for (const Saved& saved : saved_) {
            std::vector<std::string> familiar;
            for (const std::string& name : saved.names) familiar.push_back(Reference::parse(name).familiar());
            all.push_back(docker_manifest_entry(saved.manifest, saved.layers, familiar));
        }
        return all;
    }

    Store& store_;
    ImageStore images_;
    const SaveOptions& options_;
    Progress& progress_;
    Lease lease_;
    std::vector<Saved> saved_;
    std::map<Digest, std::size_t> by_id_;
    std::map<Digest, PlannedBlob> blobs_;
    std::map<std::pair<DiffId, Compression>, Compressed> compressed_;
};

std::vector<std::string> save(Store& store, const std::vector<std::string>& names, const SaveOptions& options,
                              LayoutWriter& out) {
    if (names.empty())
        throw Error(Errc::invalid, "no image was named to save")
            .hint("`surcoat images` lists those there are");
    SavePlan plan(store, options);
    for (const std::string& name : names) plan.add(name);
    return plan.write(out);
}

}  // namespace

std::optional<ArchiveFormat> parse_archive_format(std::string_view text) {
    if (text == "oci-dir") return ArchiveFormat::oci_directory;
    if (text == "oci-archive") return ArchiveFormat::oci_archive;
    if (text == "docker-archive") return ArchiveFormat::docker_archive;
    return std::nullopt;
}

std::vector<std::string> save_images(Store& store, const std::vector<std::string>& names,
                                     const SaveOptions& options, ByteSink& sink) {
    ArchiveLayoutWriter out(sink);
    return save(store, names, options, out);
}

std::vector<std::string> save_images(Store& store, const std::vector<std::string>& names,
                                     const SaveOptions& options, const std::filesystem::path& directory) {
    DirectoryLayoutWriter out(directory);
    return save(store, names, options, out);
}

}  // namespace surcoat::registry
