#include "cmd/wire.h"

#include <fmt/format.h>
#include <cstdlib>

#include "cmd/output.h"
#include "cmd/terminal_progress.h"
#include "overlay/container.h"
#include "overlay/namespaces.h"
#include "overlay/workspace.h"
#include "registry/image_store.h"

namespace surcoat::cmd {

struct Program::Parts {
    std::optional<Store> store;
    std::unique_ptr<registry::ImageStore> images;
    std::unique_ptr<overlay::Containers> containers;
    std::unique_ptr<overlay::UnionWorkspaces> workspaces;
    std::unique_ptr<Progress> progress;
};

Program::Program(Settings settings) : settings_(std::move(settings)), parts_(std::make_unique<Parts>()) {}
Program::~Program() = default;

std::string default_store_path() {
    if (const char* path = std::getenv("SURCOAT_STORE"); path != nullptr && *path != '\0') return path;
    // Not geteuid(): root of a user namespace is a plain user, whose store is where it was before.
    if (overlay::current_privilege() == overlay::Privilege::root) return "/var/lib/surcoat";
    if (const char* data = std::getenv("XDG_DATA_HOME"); data != nullptr && *data != '\0') return std::string(data) + "/surcoat";
    const char* home = std::getenv("HOME");
    if (home == nullptr || *home == '\0') {
        throw Error(Errc::invalid, "no place for the store: neither SURCOAT_STORE nor XDG_DATA_HOME nor HOME is set")
            .hint("name one with --store DIRECTORY");
    }
    return std::string(home) + "/.local/share/surcoat";
}

Store& Program::store() {
    if (!parts_->store) {
        StoreOptions options;
        options.root = settings_.store.empty() ? default_store_path() : settings_.store;
        std::string keep = settings_.keep_blobs;
        if (keep.empty()) {
            const char* value = std::getenv("SURCOAT_KEEP_BLOBS");
            keep = value != nullptr ? value : "auto";
        }
        if (keep == "always") {
            options.keep_blobs = KeepBlobs::always;
        } else if (keep == "never") {
            options.keep_blobs = KeepBlobs::never;
        } else if (keep != "auto") {
            throw Error(Errc::invalid, fmt::format("keep-blobs is '{}', but must be auto, always or never", keep));
        }
        if (settings_.durability == "fast") options.durability = Durability::fast;
        parts_->store.emplace(options);
    }
    return *parts_->store;
}

registry::ImageStore& Program::images() {
    if (!parts_->images) parts_->images = std::make_unique<registry::ImageStore>(store());
    return *parts_->images;
}

overlay::Containers& Program::containers() {
    if (!parts_->containers) parts_->containers = std::make_unique<overlay::Containers>(store());
    return *parts_->containers;
}

build::Workspaces& Program::workspaces() {
    if (!parts_->workspaces) parts_->workspaces = std::make_unique<overlay::UnionWorkspaces>(store());
    return *parts_->workspaces;
}

Progress& Program::progress() {
    if (!parts_->progress) parts_->progress = std::make_unique<TerminalProgress>(settings_.quiet);
    return *parts_->progress;
}

std::unique_ptr<overlay::UnionView> Program::view_of(const std::string& name, bool read_only) {
    std::optional<ContainerRow> row;
    try {
        row = containers().get(name);
    } catch (const Error& e) {
        if (e.code() != Errc::not_found) throw;
    }
    if (row) return containers().view(*row, read_only);
    const auto image = images().find_image(name);
    if (!image) {
        throw Error(Errc::not_found, fmt::format("there is neither a container nor an image '{}'", name))
            .hint("see `surcoat ps -a` and `surcoat images`");
    }
    if (!read_only) throw Error(Errc::invalid, fmt::format("'{}' is an image: images never change", name)).hint("create a container of it first");
    overlay::ViewOptions options;
    options.backend = overlay::Backend::library;
    options.read_only = true;
    return overlay::open_view(store(), {{}, image->image.layers}, std::nullopt, options);
}

}  // namespace surcoat::cmd
