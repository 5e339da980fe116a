#!/usr/bin/env bash
# For developers: renew the libraries that the page of scripts/report.py --page brings along, as classic scripts
# (a page opened from disk may not load modules). Needs npm; who makes or opens a page does not.
#
#   bash scripts/vendor_page.sh
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=$root/src/isosweep/report/browse/static/vendor
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y >/dev/null
# DataTables 3 shows an advertisement in some of its parts; 2.3 is the last line without one
npm install --silent three@0.187.0 uplot@1.6.32 datatables.net@2.3.8 jquery@3.7.1 esbuild@0.28.2
cat >three.js <<'JS'
export { BufferAttribute, BufferGeometry, Color, DirectionalLight, DoubleSide, HemisphereLight, LineBasicMaterial,
  LineSegments, Mesh, MeshBasicMaterial, MeshLambertMaterial, MeshNormalMaterial, PerspectiveCamera, REVISION, Scene,
  SRGBColorSpace, Texture, Vector3, WebGLRenderer, WireframeGeometry } from "three";
export { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
JS
esbuild=$(find node_modules/@esbuild -name esbuild -path '*/bin/*' | head -1)
"$esbuild" three.js --bundle --minify --format=iife --global-name=THREE --target=es2020 --legal-comments=eof \
  --log-level=warning --outfile="$target/three.min.js"
cp node_modules/uplot/dist/uPlot.iife.min.js "$target/uplot.min.js"
cp node_modules/uplot/dist/uPlot.min.css "$target/uplot.min.css"
cp node_modules/datatables.net/js/dataTables.min.js "$target/datatables.min.js"
cp node_modules/jquery/dist/jquery.slim.min.js "$target/jquery.slim.min.js"
for p in three uplot datatables.net jquery; do
  echo "==== $p $(node -p "require('./node_modules/$p/package.json').version") (MIT)"
  cat node_modules/$p/[Ll][Ii][Cc][Ee][Nn][Ss][Ee]*
  echo
done >"$target/LICENSES.txt"
ls -l "$target"
