#include "registry/image_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "layers/base/error.h"
#include "layers/base/suggest.h"

namespace surcoat::registry {
namespace {

constexpr std::size_t kPrefixMin = 4;
constexpr std::string_view kSha256 = "sha256:";

bool is_lower_hex(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    });
}

/// The hex digits if `text` can be (the beginning of) an image's ID, else "".
std::string id_digits(std::string_view text) {
    const bool prefixed = text.substr(0, kSha256.size()) == kSha256;
    if (prefixed) text.remove_prefix(kSha256.size());
    return text.size() >= kPrefixMin && text.size() <= 64 && is_lower_hex(text) ? std::string(text)
                                                                                : std::string();
}

std::optional<Reference> try_parse(const std::string& text) {
    try {
        return Reference::parse(text);
    } catch (const Error&) { return std::nullopt; }
}

/// For people; a stored name that does not parse (another version wrote it) is shown as it is.
std::string familiar(const std::string& full) {
    const auto reference = try_parse(full);
    return reference ? reference->familiar() : full;
}

std::string repository(const std::string& full) {
    const auto reference = try_parse(full);
    return reference ? reference->domain + "/" + reference->path : full;
}

std::string event_detail(const std::string& name, const Digest& image) {
    Json detail = Json::object();
    detail.set_if("name", name).set("image", image.str());
    return detail.dump();
}

StoredImage load(Store& store, ImageRow row) {
    const std::string text = store.read_blob(row.id, kConfigMax);
    Image image = parse_config(text, fmt::format("configuration {}", row.id.str()));
    return StoredImage{std::move(row), std::move(image)};
}

}  // namespace

Manifest plain_manifest(std::string_view config, const std::vector<DiffId>& layers,
                        const std::vector<std::uint64_t>& archive_bytes) {
    Manifest manifest{
        .config = {.media_type = media_type::kConfig, .digest = Digest::of(config), .size = config.size()}};
    for (std::size_t i = 0; i < layers.size(); ++i) {
        manifest.layers.push_back(
            {.media_type = media_type::kLayer, .digest = layers[i].digest, .size = archive_bytes[i]});
    }
    return manifest;
}

std::vector<Descriptor> named_descriptors(const Descriptor& manifest, const std::vector<std::string>& names) {
    if (names.empty()) return {manifest};
    std::vector<Descriptor> all;
    for (const std::string& name : names) {
        all.push_back(manifest);
        all.back().annotations = {{annotation::kImageName, name}, {annotation::kRefName, familiar(name)}};
    }
    return all;
}

ImageStore::Staged ImageStore::stage(Transaction& transaction, const Image& image) {
    std::vector<std::uint64_t> sizes;
    for (const DiffId& layer : image.layers) {
        auto row = transaction.staged_layer(layer);
        if (!row) row = store_.catalogue().layer(layer);
        if (!row)
            throw Error(Errc::failed, fmt::format("layer {} is neither staged nor stored", layer.str()));
        sizes.push_back(row->archive_bytes);
    }
    const std::string config = write_config(image);
    const Manifest manifest = plain_manifest(config, image.layers, sizes);
    Staged staged{.id = transaction.add_blob(config, media_type::kConfig),
                  .manifest = transaction.add_blob(manifest.to_json(), manifest.media_type),
                  .layers = image.layers};
    if (image.created) staged.created_at = parse_rfc3339(*image.created);
    return staged;
}

void ImageStore::publish(Catalogue::Write& write, const Staged& staged,
                         const std::vector<std::string>& names) {
    write.add_image({.id = staged.id,
                     .manifest = staged.manifest,
                     .layers = staged.layers,
                     .created_at = staged.created_at});
    for (const std::string& name : names) {
        write.set_name(name, staged.id);
        write.event("image.tag", event_detail(name, staged.id));
    }
}

std::optional<ImageRow> ImageStore::find_row(const std::string& name_or_id) {
    Catalogue& catalogue = store_.catalogue();
    const auto reference = try_parse(name_or_id);
    if (reference && reference->digest) {
        // A digest says which image; the name only has to be one that it has, in that repository.
        const std::string wanted = reference->domain + "/" + reference->path;
        for (const NameRow& name : catalogue.names()) {
            if (repository(name.name) != wanted) continue;
            auto row = catalogue.image(name.image);
            if (row && (row->manifest == *reference->digest || row->id == *reference->digest)) return row;
        }
        return std::nullopt;
    }
    if (reference) {
        if (const auto name = catalogue.name(reference->with_default_tag().full()))
            return catalogue.image(name->image);
    }
    const std::string digits = id_digits(name_or_id);
    if (digits.empty()) return std::nullopt;
    std::vector<ImageRow> rows = catalogue.images_by_prefix(digits);
    if (rows.empty()) return std::nullopt;
    if (rows.size() > 1) {
        std::string list;
        for (const ImageRow& row : rows) list += (list.empty() ? "" : ", ") + row.id.short_hex();
        throw Error(Errc::invalid,
                    fmt::format("'{}' is the beginning of {} image IDs: {}", name_or_id, rows.size(), list))
            .hint("give more digits of the one that you mean");
    }
    return rows.front();
}

std::optional<StoredImage> ImageStore::find_image(const std::string& name_or_id) {
    auto row = find_row(name_or_id);
    if (!row) return std::nullopt;
    return load(store_, std::move(*row));
}

StoredImage ImageStore::get(const std::string& name_or_id) {
    if (auto found = find_image(name_or_id)) return std::move(*found);
    if (id_digits(name_or_id).empty()) Reference::parse(name_or_id);  // what is no name at all says so itself
    const std::vector<std::string> known = known_names();
    std::vector<std::string> repositories = known;  // "shpo" is nearer to "shop" than to "shop:1"
    for (const std::string& name : known) repositories.push_back(name.substr(0, name.rfind(':')));
    auto suggestion = nearest(name_or_id, known);
    if (!suggestion) {
        if (const auto near = nearest(name_or_id.substr(0, name_or_id.rfind(':')), repositories)) {
            const auto full = std::find_if(known.begin(), known.end(), [&](const std::string& name) {
                return name == *near || name.starts_with(*near + ":");
            });
            if (full != known.end()) suggestion = *full;
        }
    }
    throw Error(Errc::not_found,
                fmt::format("there is no image '{}'{}", name_or_id,
                            suggestion ? fmt::format(" (did you mean '{}'?)", *suggestion) : ""))
        .hint(known.empty() ? "the store has no images yet: `surcoat import`, `surcoat load` and `surcoat "
                              "build` make some"
                            : "`surcoat images` lists those there are");
}

StoredImage ImageStore::get(const Digest& id) {
    auto row = store_.catalogue().image(id);
    if (!row)
        throw Error(Errc::not_found, fmt::format("there is no image {}", id.str()))
            .hint("`surcoat images` lists those there are");
    return load(store_, std::move(*row));
}

std::vector<StoredImage> ImageStore::list() {
    std::vector<StoredImage> all;
    store_.catalogue().snapshot([&] {
        for (ImageRow& row : store_.catalogue().images()) all.push_back(load(store_, std::move(row)));
    });
    return all;
}

void ImageStore::tag(const std::string& name_or_id, const std::string& new_name) {
    const Reference name = Reference::parse(new_name).with_default_tag();
    if (name.digest) {
        throw Error(Errc::invalid, fmt::format("'{}' cannot be given to an image: it has a digest", new_name))
            .hint("give a name with a tag, for example " + name.familiar_repository() + ":1");
    }
    const Digest id = get(name_or_id).row.id;
    store_.catalogue().write([&](Catalogue::Write& write) {
        write.set_name(name.full(), id);
        write.event("image.tag", event_detail(name.full(), id));
    });
    write_layout_index();
}

std::vector<std::string> ImageStore::remove(const std::string& name_or_id, bool force) {
    const auto reference = try_parse(name_or_id);
    std::optional<std::string> given_name;
    if (reference && !reference->digest) {
        const std::string full = reference->with_default_tag().full();
        if (store_.catalogue().name(full)) given_name = full;
    }
    const auto row = find_row(name_or_id);
    if (!row) get(name_or_id);  // says what there is instead
    const Digest id = row->id;

    std::vector<std::string> gone;
    // Decided and done in one write, so that a container created meanwhile is seen or sees nothing.
    store_.catalogue().write([&](Catalogue::Write& write) {
        gone.clear();
        Catalogue& catalogue = store_.catalogue();
        const std::vector<NameRow> names = catalogue.names_of(id);
        const bool whole = !given_name || names.size() <= 1;
        std::set<std::string> repositories;
        for (const NameRow& name : names) repositories.insert(repository(name.name));
        if (!given_name && repositories.size() > 1 && !force) {
            throw Error(Errc::conflict, fmt::format("image {} has names in {} repositories", id.short_hex(),
                                                    repositories.size()))
                .hint("remove it by name, or all of its names with `surcoat rmi -f`");
        }
        bool used = false;
        for (const ContainerRow& container : catalogue.containers()) {
            if (container.image != id) continue;
            used = true;
            if (whole && !force) {
                throw Error(Errc::conflict, fmt::format("image '{}' is used by the container '{}' ({})",
                                                        given_name ? familiar(*given_name) : id.short_hex(),
                                                        container.name, container.state))
                    .hint(fmt::format("remove the container first (`surcoat rm {0}`), or force it (`surcoat "
                                      "rmi -f`): the container "
                                      "then keeps what it needs",
                                      container.name));
            }
        }
        for (const NameRow& name : names) {
            if (given_name && name.name != *given_name) continue;
            write.remove_name(name.name);
            write.event("image.untag", event_detail(name.name, id));
            gone.push_back("Untagged: " + familiar(name.name));
        }
        // With a container on it the row stays, unnamed, until the container has gone: gc takes it then.
        if (whole && !used) {
            write.remove_image(id);
            write.event("image.remove", event_detail({}, id));
            gone.push_back("Deleted: " + id.str());
        }
    });
    write_layout_index();
    return gone;
}

std::optional<Image> ImageStore::find(const std::string& reference, const Platform& platform) {
    auto found = find_image(reference);
    if (!found) return std::nullopt;
    if (!platform.architecture.empty() && !platform_rank(found->image.platform, platform))
        return std::nullopt;
    return std::move(found->image);
}

std::vector<std::string> ImageStore::known_names() {
    std::vector<std::string> all;
    for (const NameRow& name : store_.catalogue().names()) {
        const std::string known = familiar(name.name);
        all.push_back(known);
        if (known.ends_with(":latest")) all.push_back(known.substr(0, known.rfind(':')));  // as people type it
    }
    return all;
}

}  // namespace surcoat::registry
