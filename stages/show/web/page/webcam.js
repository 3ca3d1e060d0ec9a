// A webcam: one thing to do at a time, until there are three pictures of one person, each turned otherwise. What to do,
// and whether it is the same person, the gate says; a picture that is taken is the very one that it found good.
import { api } from "./app.js";
import { el } from "./dom.js";

const PICTURES = 3;
const PAUSE_MS = 700;

export async function webcam(place, shots) {
  place.stop?.();
  shots.length = 0;
  const advice = el("p", { class: "muted grow", role: "status" }, "Waiting for the camera.");
  place.replaceChildren(advice);
  const say = (text) => { if (advice.textContent !== text) advice.textContent = text; };
  let stream;
  try { stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } }); } catch {
    say("The browser gives no camera: allow it, or choose photos.");
    return;
  }
  if (!place.isConnected) { stream.getTracks().forEach((track) => track.stop()); return; }
  const video = el("video", { autoplay: "", playsinline: "", "aria-label": "Webcam" });
  video.muted = true;
  video.srcObject = stream;
  const taken = el("div", { class: "taken" });
  const take = el("button", { type: "button", disabled: "" }, "Take the picture");
  place.replaceChildren(video, el("div", { class: "row" }, advice, take), taken);
  let [watching, good] = [true, null];
  place.stop = () => { watching = false; stream.getTracks().forEach((track) => track.stop()); };
  take.onclick = () => {
    shots.push(good);
    good = null;
    take.disabled = true;
    taken.append(thumbnail(shots.at(-1), shots.length));
    if (shots.length < PICTURES) return;
    place.stop();
    place.replaceChildren(el("p", { class: "muted", role: "status" }, "All three pictures are taken: enrol."), taken);
  };
  while (watching) {
    const shot = video.videoWidth ? await grabbed(video) : null;
    if (shot) {
      const before = shots.length;
      const said = await judged([...shots, shot]);
      if (watching && shots.length === before) {
        say(`${before} of ${PICTURES}: ${said || "good, take the picture"}`);
        good = said ? null : shot;
        take.disabled = Boolean(said);
      }
    }
    await new Promise((done) => setTimeout(done, PAUSE_MS));
  }
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
