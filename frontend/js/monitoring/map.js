// The portal's map: class tiles, outlines coloured by review state, click → season curve.
// The page is complete without it; this module only adds to what the server has drawn.

import { autosubmit } from "./forms.js";
import { curvePanel } from "./panel.js";

const STATE_COLOURS = { todo: "#8a5a12", accepted: "#2f6b3a", returned: "#b3261e", none: "#8f8a7c" };
const PAPER = "#f1efe7";
const LAND = "#fbfaf6";
const INK = "#1f2421";
// All of Pingliang, degrees west, south, east, north; replaced by the outlines' own extent once they are here.
const PREFECTURE = [105.34, 34.87, 107.86, 35.76];

const config = JSON.parse(document.getElementById("map-config").textContent);
const container = document.getElementById("map");
const status = document.getElementById("map-status");

function say(text, failed = false) {
  status.textContent = text;
  status.classList.toggle("map-status--failed", failed);
}

function style() {
  const sources = {
    outlines: { type: "geojson", data: { type: "FeatureCollection", features: [] } },
    parcels: { type: "geojson", data: { type: "FeatureCollection", features: [] } },
    point: { type: "geojson", data: { type: "FeatureCollection", features: [] } },
  };
  const layers = [
    { id: "paper", type: "background", paint: { "background-color": PAPER } },
    { id: "land", type: "fill", source: "outlines", filter: ["==", ["get", "level"], "county"], paint: { "fill-color": LAND } },
    // The review state fills a county while one looks at the prefecture, and steps back before the crop map.
    { id: "state", type: "fill", source: "outlines", filter: ["==", ["get", "level"], "county"], paint: { "fill-color": ["match", ["get", "state"], "todo", "#f6e7c6", "accepted", "#dfeee0", "returned", "#f9dedc", LAND], "fill-opacity": ["interpolate", ["linear"], ["zoom"], 9.5, 1, 11, 0] } },
  ];
  for (const [name, tiles] of Object.entries(config.tiles)) {
    sources[name] = {
      type: "raster",
      tiles: [new URL(tiles, location.href).href.replace(/%7B/g, "{").replace(/%7D/g, "}")],
      tileSize: 256,
      maxzoom: 17,
      bounds: config.extent ?? undefined,
    };
    layers.push({
      id: name,
      type: "raster",
      source: name,
      layout: { visibility: name === config.layer ? "visible" : "none" },
      paint: { "raster-opacity": 0.85, "raster-resampling": "nearest", "raster-fade-duration": 0 },
    });
  }
  const colour = ["match", ["get", "state"], "todo", STATE_COLOURS.todo, "accepted", STATE_COLOURS.accepted, "returned", STATE_COLOURS.returned, STATE_COLOURS.none];
  const width = (from, to) => ["interpolate", ["linear"], ["zoom"], 7, from, 13, to];
  layers.push(
    { id: "parcel-lines", type: "line", source: "parcels", minzoom: 12, paint: { "line-color": INK, "line-width": 0.6, "line-opacity": 0.55 } },
    { id: "township-lines", type: "line", source: "outlines", minzoom: 9, filter: ["==", ["get", "level"], "township"], paint: { "line-color": colour, "line-width": width(0.5, 1.6), "line-dasharray": [3, 2] } },
    { id: "prefecture-line", type: "line", source: "outlines", filter: ["==", ["get", "level"], "prefecture"], paint: { "line-color": INK, "line-width": width(1.6, 3) } },
    { id: "county-lines", type: "line", source: "outlines", filter: ["==", ["get", "level"], "county"], paint: { "line-color": colour, "line-width": width(1.4, 3) } },
  );
  if (config.extent) {
    sources.extent = { type: "geojson", data: box(config.extent) };
    layers.push({ id: "extent", type: "line", source: "extent", paint: { "line-color": INK, "line-width": 1.5, "line-dasharray": [2, 2] } });
  }
  layers.push({ id: "point", type: "circle", source: "point", paint: { "circle-radius": 7, "circle-color": "rgba(255,255,255,0.35)", "circle-stroke-color": INK, "circle-stroke-width": 2.5 } });
  return { version: 8, sources, layers };
}

function box([west, south, east, north]) {
  const ring = [[west, south], [east, south], [east, north], [west, north], [west, south]];
  return { type: "Feature", properties: {}, geometry: { type: "Polygon", coordinates: [ring] } };
}

async function json(address) {
  const answer = await fetch(address, { credentials: "same-origin" });
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
  return answer.json();
}

function labels(maplibre, map, outlines) {
  // Names are HTML: the style needs no glyph server. Townships only where there is room for them.
  const townships = [];
  for (const { properties } of outlines.features) {
    if (properties.level === "prefecture" || !properties.label) continue;
    const element = document.createElement("span");
    element.className = `place-label place-label--${properties.level}`;
    element.textContent = properties.name;
    new maplibre.Marker({ element, opacity: "1" }).setLngLat(properties.label).addTo(map);
    element.removeAttribute("tabindex");
    if (properties.level === "township") townships.push(element);
  }
  const update = () => townships.forEach((element) => { element.hidden = map.getZoom() < 11; });
  map.on("zoomend", update);
  update();
}

function layerSwitch(map) {
  const links = [...document.querySelectorAll("[data-layer]")];
  const show = (name) => {
    for (const layer of Object.keys(config.tiles)) map.setLayoutProperty(layer, "visibility", layer === name ? "visible" : "none");
    for (const link of links) {
      if (link.dataset.layer === name) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    for (const block of document.querySelectorAll(".legend-more")) block.hidden = block.dataset.legend !== name;
    const address = new URL(location.href);
    address.searchParams.set("layer", name);
    history.replaceState(null, "", address);
  };
  for (const link of links) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      show(link.dataset.layer);
    });
  }
  const opacity = document.getElementById("opacity");
  if (!opacity) return;
  document.getElementById("opacity-box").hidden = false;
  opacity.addEventListener("input", () => {
    for (const layer of Object.keys(config.tiles)) map.setPaintProperty(layer, "raster-opacity", Number(opacity.value) / 100);
  });
}

function views(map) {
  const buttons = document.getElementById("view-buttons");
  buttons.hidden = false;
  buttons.addEventListener("click", (event) => {
    const view = event.target.closest("[data-view]")?.dataset.view;
    if (view) map.fitBounds(view === "run" && config.extent ? config.extent : PREFECTURE, { padding: 24, duration: 0 });
  });
}

async function start() {
  autosubmit(document);
  const panel = curvePanel(document.getElementById("curve-panel"), config);
  say(config.text.loading);
  let maplibre;
  try {
    maplibre = await import(new URL(container.dataset.maplibre, location.href).href);
    maplibre.setWorkerUrl(new URL(container.dataset.worker, location.href).href);
  } catch {
    say(config.text.failed, true);
    return;
  }
  let map;
  try {
    map = new maplibre.Map({
      container,
      style: style(),
      bounds: config.extent ?? PREFECTURE,
      fitBoundsOptions: { padding: 24 },
      minZoom: 6,
      maxZoom: 17,
      dragRotate: false,
      pitchWithRotate: false,
      attributionControl: false,
      locale: {
        "Map.Title": document.getElementById("map-heading").textContent,
        "NavigationControl.ZoomIn": document.documentElement.lang.startsWith("zh") ? "放大" : "Zoom in",
        "NavigationControl.ZoomOut": document.documentElement.lang.startsWith("zh") ? "缩小" : "Zoom out",
        "ScaleControl.Meters": "m",
        "ScaleControl.Kilometers": "km",
      },
    });
  } catch {
    // MapLibre throws where WebGL is missing; the tables stay.
    say(config.text.no_webgl, true);
    return;
  }
  map.touchZoomRotate.disableRotation();
  map.addControl(new maplibre.NavigationControl({ showCompass: false }), "top-right");
  map.addControl(new maplibre.ScaleControl({ maxWidth: 120 }), "bottom-right");
  map.on("error", (event) => {
    if (event.sourceId) say(config.text.tile_failed, true);
  });
  map.on("load", async () => {
    layerSwitch(map);
    views(map);
    try {
      const outlines = await json(config.outlines);
      map.getSource("outlines").setData(outlines);
      labels(maplibre, map, outlines);
      if (config.parcels) map.getSource("parcels").setData(await json(config.parcels));
      say("");
      container.dataset.ready = "true";
    } catch {
      say(config.text.failed, true);
    }
  });
  if (panel) {
    map.getCanvas().style.cursor = "crosshair";
    map.on("click", ({ lngLat }) => {
      map.getSource("point").setData({ type: "Feature", properties: {}, geometry: { type: "Point", coordinates: lngLat.toArray() } });
      panel.show({ lon: lngLat.lng.toFixed(6), lat: lngLat.lat.toFixed(6) });
    });
  }
}

start();
