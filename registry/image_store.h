#pragma once
#include <optional>
#include <string>
#include <vector>

#include "layers/build/ports.h"
#include "layers/store/transaction.h"
#include "registry/oci.h"
#include "registry/reference.h"

namespace surcoat::registry {

struct StoredImage {
    ImageRow row;
    Image image;
};

/// The images of a store by name: rows of the catalogue, documents among its blobs. From one thread at a
/// time.
class ImageStore final : public build::ImageSource {
  public:
    explicit ImageStore(Store& store) : store_(store) {}

    /// Stages an image made here (its layers are staged or stored): configuration and manifest, whose layers
    /// are plain (uncompressed) and so need no blob. (Under KeepBlobs::always write_layout_index() adds
    /// their archives as blobs once they are published.) Returns what publish() needs.
    struct Staged {
        Digest id;
        Digest manifest;
        std::vector<DiffId> layers;
        std::optional<std::int64_t> created_at;
    };
    Staged stage(Transaction& transaction, const Image& image);
    /// Inside Transaction::commit: the image's row and, if given, its names (full references with tag).
    /// What a name meant before loses it.
    static void publish(Catalogue::Write& write, const Staged& staged, const std::vector<std::string>& names);

    /// By reference ("shop", "shop:1", "…@sha256:…"), image ID or unique prefix of one (>= 4 digits). A name
    /// goes before an ID that reads alike. Throws Errc::invalid for a prefix of several.
    std::optional<StoredImage> find_image(const std::string& name_or_id);
    /// The same; throws Errc::not_found with the nearest names and what to do.
    StoredImage get(const std::string& name_or_id);
    StoredImage get(const Digest& id);
    std::vector<StoredImage> list();

    /// Throws Errc::invalid if the new name has a digest.
    void tag(const std::string& name_or_id, const std::string& new_name);
    /// Removes a name; with the last one (or given an id) the image itself. Throws Errc::conflict while a
    /// container uses it, naming it, and for an id whose image has names in several repositories, unless
    /// `force` (a container keeps what it needs until it goes). Returns what went, as docker says it:
    /// "Untagged: …", "Deleted: …". Space comes back with the next gc.
    std::vector<std::string> remove(const std::string& name_or_id, bool force);

    // build::ImageSource
    std::optional<Image> find(const std::string& reference, const Platform& platform) override;
    std::vector<std::string> known_names() override;

    /// Under KeepBlobs::always: completes blobs/ with the archives of layers made here and writes
    /// `oci-layout` and `index.json` for the names as they are, so that the store's root is an OCI image
    /// layout. Under other policies it removes a stale index.json and does nothing else. Call it after every
    /// change of names; safe against other processes that do the same. An image with a compressed layer whose
    /// bytes were not kept is left out.
    void write_layout_index();

  private:
    std::optional<ImageRow> find_row(const std::string& name_or_id);
    Store& store_;
};

/// The manifest that we make for an image which came without one: plain layers around the very bytes of its
/// configuration. `archive_bytes` has each layer's size.
Manifest plain_manifest(std::string_view config, const std::vector<DiffId>& layers,
                        const std::vector<std::uint64_t>& archive_bytes);

/// The descriptors under which an image stands in an index: one per full name, with both annotations: the
/// name as people type it (skopeo and umoci look for it: `oci:DIR:shop:1`) and in full (docker, containerd
/// and podman prefer it); or one without annotations.
std::vector<Descriptor> named_descriptors(const Descriptor& manifest, const std::vector<std::string>& names);

}  // namespace surcoat::registry
