// Pictures: dropped, pasted, chosen, taken with the camera, or a sample.

import {answer} from "./answers.js";
import {announce, byId} from "./dom.js";

const PATH = "infer?top=5";

export function takePictures() {
  byId("pictures").hidden = false;
  byId("files").addEventListener("change", chosen);
  byId("camera-file").addEventListener("change", chosen);
  byId("samples").addEventListener("click", sample);
  byId("camera").addEventListener("click", camera);
  document.addEventListener("paste", (event) => send(event.clipboardData.files, event));
  dropped();
}

/** Ask about each file at once; a file that is no picture too, so that the service says what it wants. */
function send(files, event) {
  if (!files.length) return;
  event?.preventDefault();
  for (const file of files) {
    const name = file.name || "picture.png";
    answer({name, path: PATH, body: file, headers: {"Content-Type": file.type || "application/octet-stream"},
      shown: URL.createObjectURL(file), file: name});
  }
}

function chosen(event) {
  send([...event.target.files]);
  event.target.value = ""; // so that the same file can be chosen again
}

function dropped() {
  const place = byId("drop");
  let depth = 0;
  const mark = (change) => {
    depth = Math.max(0, depth + change);
    place.classList.toggle("over", depth > 0);
  };
  document.addEventListener("dragenter", () => mark(1));
  document.addEventListener("dragleave", () => mark(-1));
  // The whole page takes them: a drop beside the place would replace the page by the picture.
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(-depth);
    send([...event.dataTransfer.files]);
  });
}

async function sample(event) {
  const button = event.target.closest("button");
  if (!button) return;
  const name = button.dataset.sample;
  // The picture on the button, from the browser's cache.
  const picture = await (await fetch(button.querySelector("img").src, {cache: "force-cache"})).blob();
  answer({name, path: PATH, body: picture, headers: {"Content-Type": picture.type},
    shown: URL.createObjectURL(picture), from: `page/${name}`});
}

async function camera() {
  // Browsers give a page the camera only over https, or on this machine. A phone's own camera always works.
  if (!navigator.mediaDevices?.getUserMedia) return byId("camera-file").click();
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({video: {facingMode: "environment"}});
  } catch (fault) {
    byId("fault").textContent = `The camera cannot be used: ${fault.message}`;
    byId("fault").hidden = false;
    return announce(byId("fault").textContent);
  }
  byId("fault").hidden = true;
  const video = byId("camera-video"), dialog = byId("camera-dialog");
  video.srcObject = stream;
  dialog.addEventListener("close", () => {
    stream.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
    byId("camera-take").onclick = null;
  }, {once: true});
  byId("camera-close").onclick = () => dialog.close();
  byId("camera-take").onclick = () => take(video, dialog);
  dialog.showModal();
}

async function take(video, dialog) {
  if (!video.videoWidth) return;
  const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  canvas.getContext("2d").drawImage(video, 0, 0);
  const picture = await canvas.convertToBlob({type: "image/jpeg", quality: 0.9});
  dialog.close();
  send([new File([picture], "camera.jpg", {type: "image/jpeg"})]);
}
