// Documents and names from outside: whatever the bytes are, they are read or refused with an Error; and what
// was read and is written again reads the same. The first byte says which reader is meant.
#include <cstdint>
#include <cstdlib>

#include "layers/base/error.h"
#include "registry/oci.h"
#include "registry/reference.h"

using namespace surcoat;
using namespace surcoat::registry;

namespace {

void require(bool holds) {
    if (!holds) std::abort();
}

void read_manifest(std::string_view text) {
    const Manifest manifest = Manifest::parse(text, "manifest");
    const Manifest again = Manifest::parse(manifest.to_json(), "manifest");
    require(again.layers == manifest.layers && again.config == manifest.config &&
            again.to_json() == manifest.to_json());
    for (const Descriptor& layer : manifest.layers) layer_compression(layer.media_type);
}

void read_index(std::string_view text) {
    const Index index = Index::parse(text, "index");
    const Index again = Index::parse(index.to_json(), "index");
    require(again.manifests == index.manifests);
    select_platform(index, Platform::host());
    for (const Descriptor& entry : index.manifests) {
        if (entry.platform) select_platform(index, *entry.platform);
    }
}

void read_config(std::string_view text) {
    const Image image = parse_config(text, "configuration");
    require(parse_config(write_config(image), "configuration") == image);
}

void read_reference(std::string_view text) {
    const Reference reference = Reference::parse(text);
    require(Reference::parse(reference.full()) == reference);
    require(Reference::parse(reference.familiar()) == reference);
    require(reference.full().size() <= 255 + 1 + 128 + 1 + 7 + 128);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
    try {
        switch (data[0] % 4) {
            case 0:
                read_manifest(text);
                break;
            case 1:
                read_index(text);
                break;
            case 2:
                read_config(text);
                break;
            default:
                read_reference(text);
                break;
        }
    } catch (const Error&) {
        // Refused.
    }
    return 0;
}
