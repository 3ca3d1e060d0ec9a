// A webcam: one thing to do at a time, until there are three pictures of one person, each turned otherwise. The gate
// says what to do; the very picture that it finds good is taken, as nobody presses a button while they look aside.
import { api } from "./session.js";
import { el } from "./dom.js";

const PICTURES = 3;
const PAUSE_MS = 700;

export async function webcam(place, shots) {
  place.stop?.();
  shots.length = 0;
  const advice = el("p", { class: "muted", role: "status" }, "Waiting for the camera.");
  place.replaceChildren(advice);
  const say = (text) => { if (advice.textContent !== text) advice.textContent = text; };
  let [watching, stream] = [true, null];
  const stop = place.stop = () => { watching = false; stream?.getTracks().forEach((track) => track.stop()); };
  try { stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } }); } catch {
    say("The browser gives no camera: allow it, or choose photos.");
    return;
  }
  if (!watching) { stop(); return; }
  const video = el("video", { autoplay: "", playsinline: "", "aria-label": "Webcam" });
  video.muted = true;
  video.srcObject = stream;
  const taken = el("div", { class: "taken" });
  place.replaceChildren(video, advice, taken);
  while (shots.length < PICTURES) {
    const shot = video.videoWidth ? await grabbed(video) : null;
    const said = shot ? await judged([...shots, shot]) : "waiting for the camera";
    if (!watching) return;
    if (!said) {
      shots.push(shot);
      taken.append(thumbnail(shot, shots.length));
    }
    say(`${shots.length} of ${PICTURES}: ${said || "taken"}`);
    await new Promise((done) => setTimeout(done, PAUSE_MS));
    if (!watching) return;
  }
  stop();
  video.remove();
  say("All three pictures are taken: enrol.");
}

function judged(pictures) {
  const form = new FormData();
  for (const picture of pictures) form.append("picture", picture, "webcam.jpg");
  return api("POST", "/api/look", form).then(({ advice }) => advice, (problem) => problem.message);
}

function grabbed(video) {
  const canvas = el("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.95));
}

function thumbnail(shot, number) {
  const image = el("img", { alt: `Picture ${number}`, src: URL.createObjectURL(shot) });
  image.onload = () => URL.revokeObjectURL(image.src);
  return image;
}
