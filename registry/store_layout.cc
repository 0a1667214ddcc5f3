#include <fcntl.h>
#include <fmt/format.h>

#include "layers/base/error.h"
#include "layers/base/file.h"
#include "layers/base/file_lock.h"
#include "layers/store/lease.h"
#include "registry/image_store.h"
#include "registry/layout.h"

// The store's root as an OCI image layout (image-spec v1.1, image-layout.md): blobs/sha256 is the store's own
// folder, the other two files are written here. index.json names complete images only, and is written after
// what it names, so that at any moment the layout is valid for whoever reads it.

namespace surcoat::registry {
namespace {

/// Adds the plain archive of a stored layer to blobs/.
void add_archive_blob(Store& store, const DiffId& layer) {
    Transaction transaction(store, "keep a layer's archive");
    auto blob = transaction.open_blob();
    FunctionSink sink([&](ByteSpan bytes) { blob->write(bytes); });
    store.write_archive(layer, sink);
    blob->finish(layer.digest, media_type::kLayer);
    const auto row = store.catalogue().layer(layer);
    transaction.stage_layer_blob({.blob = layer.digest,
                                  .diff_id = layer,
                                  .compression = Compression::none,
                                  .size = row ? row->archive_bytes : 0});
    transaction.commit();
}

/// True if every blob of the image is in blobs/, once plain layers have been added.
bool complete(Store& store, const ImageRow& image, const Manifest& manifest) {
    for (std::size_t i = 0; i < manifest.layers.size(); ++i) {
        const Digest& blob = manifest.layers[i].digest;
        if (store.has_blob(blob)) continue;
        if (i >= image.layers.size() || blob != image.layers[i].digest) return false;
        add_archive_blob(store, image.layers[i]);
    }
    return true;
}

}  // namespace

void ImageStore::write_layout_index() {
    const std::filesystem::path index_path = store_.root() / "index.json";
    if (store_.options().keep_blobs != KeepBlobs::always) {
        // One that another policy left behind would go on naming images that are gone.
        remove_file(index_path);
        return;
    }
    // Of two that write at once the later one must also be the one that read later.
    const FileLock lock = FileLock::acquire(store_.path("lock") / "layout", FileLock::Mode::exclusive);
    Index index;
    for (const ImageRow& image : store_.catalogue().images()) {
        std::vector<std::string> names;
        for (const NameRow& name : store_.catalogue().names_of(image.id)) names.push_back(name.name);
        if (names.empty()) continue;
        Lease lease(store_, "write the layout's index");
        lease.hold_layers(image.layers);
        const std::string text = store_.read_blob(image.manifest, kManifestMax);
        const Manifest manifest = Manifest::parse(text, fmt::format("manifest {}", image.manifest.str()));
        if (!complete(store_, image, manifest)) continue;
        const Descriptor descriptor{
            .media_type = manifest.media_type, .digest = image.manifest, .size = text.size()};
        for (Descriptor& named : named_descriptors(descriptor, names))
            index.manifests.push_back(std::move(named));
    }
    write_file_durably(store_.root() / kLayoutFile, kLayoutText);
    write_file_durably(index_path, index.to_json());
}

}  // namespace surcoat::registry
