#pragma once
#include <memory>
#include <optional>
#include <string>

#include "layers/base/progress.h"
#include "layers/store/store.h"

namespace surcoat {
class Lease;
namespace registry {
class ImageStore;
struct StoredImage;
}
namespace overlay {
class Containers;
class UnionView;
}
namespace build {
class ImageSource;
class Workspaces;
}
}  // namespace surcoat

namespace surcoat::cmd {

/// What the command line and the environment say for every verb.
struct Settings {
    std::string store;       ///< --store, else $SURCOAT_STORE, else the default place
    std::string keep_blobs;  ///< auto | always | never; "" = as the environment says, else auto
    std::string durability;  ///< full | fast
    bool quiet = false;
    bool verbose = false;
};

/// Puts the classes together: settings → store, images, containers, build ports. Everything is made at its
/// first use, so that `surcoat version` touches no disk. The one place that knows every class.
class Program {
  public:
    explicit Program(Settings settings);
    ~Program();

    const Settings& settings() const { return settings_; }
    Store& store();
    registry::ImageStore& images();
    overlay::Containers& containers();
    build::Workspaces& workspaces();
    /// On a terminal a moving line; else nothing but notes and warnings. Quiet: warnings only.
    Progress& progress();

    /// A container's or an image's root for file work, by name: "CTR" or an image reference; read_only for images.
    std::unique_ptr<overlay::UnionView> view_of(const std::string& container_or_image, bool read_only);

  private:
    Settings settings_;
    struct Parts;
    std::unique_ptr<Parts> parts_;
};

/// $SURCOAT_STORE, else /var/lib/surcoat for root, else $XDG_DATA_HOME/surcoat or ~/.local/share/surcoat.
std::string default_store_path();

}  // namespace surcoat::cmd
